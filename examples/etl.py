"""A nightly ETL as data: two sources side by side, a window to wait for, a load that is tried again.

    runtime dev examples.etl actors.schedules
    runtime actors call nightly_etl 2026-11-21 run '{"input": {"day": "2026-11-21"}}'
    runtime schedules create nightly nightly_etl day={due} --cron "0 1 * * *"
"""

from __future__ import annotations

from actors.flow import FlowDefinition, flow_workflow, task_step, wait_timer_step
from runtime import function


@function
async def read_orders(day: str) -> list[int]:
    """The day's amounts, where they are sold."""
    return [12, 30, len(day)]


@function
async def read_refunds(day: str) -> list[int]:
    """And what was paid back."""
    return [5]


@function
async def sum_up(orders: list[int], refunds: list[int]) -> int:
    """What is left of it."""
    return sum(orders) - sum(refunds)


@function
async def load(day: str, total: int) -> str:
    """Where the warehouse would be written to."""
    return f"{day}: {total}"


DAY = {"day": "$input.day"}

DEFINITION = FlowDefinition([
    task_step("orders", handler_name="read_orders", input_data=DAY),
    task_step("refunds", handler_name="read_refunds", input_data=DAY),
    task_step(
        "total",
        handler_name="sum_up",
        input_data={"orders": "$results.orders", "refunds": "$results.refunds"},
        dependencies=["orders", "refunds"],
    ),
    wait_timer_step("window", cron_expr="0 3 * * *", timezone="Europe/Berlin", dependencies=["total"]),
    task_step("load", handler_name="load", input_data=DAY | {"total": "$results.total"}, dependencies=["window"]),
    wait_timer_step("try again", delay_ms=60_000, max_retries=3, dependencies=["load"]),
])
"""Its input is {"day": "2026-11-21"}."""

nightly_etl = flow_workflow("nightly_etl", DEFINITION)
