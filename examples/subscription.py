"""A subscription that lives for years: a month, a charge, and a new journal each year.

    runtime dev examples.subscription
    runtime actors call subscription ann run '{"plan": "basic"}' --id ann-1
    runtime runs signal RUN change pro
    runtime runs signal RUN cancel
"""

from __future__ import annotations

import msgspec

from runtime import RunView, Workflow, workflow

MONTH_S = 30 * 86_400
MONTHS_A_JOURNAL = 12
PRICES = {"basic": 5, "pro": 20}


class Account(msgspec.Struct, frozen=True):
    """How a subscription stands."""

    months: int = 0
    paid: int = 0
    plan: str = ""


async def charge(customer: str, amount: int, idempotency_key: str) -> int:
    """Where the bank would be called; gives what was charged."""
    return amount


@workflow
async def subscription(ctx: Workflow, plan: str, months: int = 0, paid: int = 0) -> int:
    """Charges each month until it is cancelled; gives all that was paid."""
    for _ in range(MONTHS_A_JOURNAL):
        paid += await ctx.step(charge, ctx.key, PRICES[plan], returns=int)
        months += 1
        ctx.publish("account", Account(months, paid, plan))
        what, value = await ctx.select(
            month=ctx.sleep(MONTH_S), change=ctx.signal("change", returns=str), cancel=ctx.signal("cancel")
        )
        if what == "cancel":
            return paid
        if what == "change" and value in PRICES:
            plan = value
    return ctx.continue_as_new({"plan": plan, "months": months, "paid": paid})


@subscription.query
def account(run: RunView) -> Account:
    """Months, plan, and what was paid."""
    return run.get("account", Account(), type=Account)
