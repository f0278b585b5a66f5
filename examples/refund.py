"""A refund that a manager approves, and a director when no manager does within a day.

    runtime dev examples.refund actors.approvals
    runtime actors call refund order-17 run '{"amount": 900}' --id refund-17
    runtime approvals list
    runtime approvals approve ID --principal ann --role manager     # with the pods' RUNTIME_SIGNING_KEY
"""

from __future__ import annotations

from runtime import RunView, Workflow, workflow

DAY_S = 86_400
SMALL = 50


async def pay_back(order: str, amount: int, idempotency_key: str) -> str:
    """Where the bank would be called, with a key that is the same however often the step is tried."""
    return f"paid back {amount} for {order}"


@workflow
async def refund(ctx: Workflow, amount: int) -> str:
    """Pays a small sum at once, and any other when somebody with the role says so; time never says so."""
    if amount > SMALL:
        ctx.publish("waiting for", "a manager")
        decision = await ctx.human.approval(
            f"refund {amount} for {ctx.key}",
            {"order": ctx.key, "amount": amount},
            required_roles=["manager"],
            timeout_s=DAY_S,
            escalate_to=["director"],
            escalate_timeout_s=2 * DAY_S,
        )
        if not decision.approved:
            return f"not refunded: {decision.status}{f' by {decision.by}' if decision.by else ''}"
    return str(await ctx.step(pay_back, ctx.key, amount, returns=str))


@refund.query
def waiting_for(run: RunView) -> str | None:
    """Whom it waits for."""
    return run.get("waiting for", None, type=str | None) if run.status == "running" else None
