"""A definition that runs: what each step gets, what time and failure do, and what comes out."""

from __future__ import annotations

from typing import Any

import pytest

from actors.flow import FlowDefinition, flow, flow_workflow, task_step, wait_signal_step, wait_timer_step
from runtime import Rejected, World, function
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy

shelf = keyvalue("shelf")


@shelf.write
def put(ctx: KeyValue, item: str) -> str:
    """Keeps an item."""
    ctx.set("item", item)
    return f"{item} on {ctx.key}"


@function
async def extract(source: str) -> list[int]:
    """Some rows."""
    return [1, 2, len(source)]


@function
async def double(rows: list[int]) -> list[int]:
    """Twice each."""
    return [2 * row for row in rows]


@function
async def total(first: list[int], second: list[int]) -> int:
    """Of all rows."""
    return sum(first) + sum(second)


@function
async def refuse(source: str) -> None:
    """Never works."""
    raise Rejected(f"{source} is not there")


def test_given_steps_with_dependencies_then_values_go_from_one_to_the_next() -> None:
    pipeline = flow_workflow(
        "pipeline",
        FlowDefinition([
            task_step("extract", handler_name="extract", input_data={"source": "$input.source"}),
            task_step(
                "double", handler_name="double", input_data={"rows": "$results.extract"}, dependencies=["extract"]
            ),
            task_step(
                "total",
                handler_name="total",
                input_data={"first": "$results.extract", "second": "$results.double"},
                dependencies=["extract", "double"],
            ),
        ]),
    )
    world = World(pipeline, extract, double, total)
    assert world.ask(pipeline, "run-1", "run", {"input": {"source": "abc"}}) == {"total": 18}


def test_given_no_input_data_then_a_task_gets_the_input_or_what_it_depends_on() -> None:
    @flow
    def nightly() -> FlowDefinition:
        return FlowDefinition([
            task_step("extract", handler_name="extract"),
            task_step("shelve", service_name="shelf", handler_name="put", object_keys=["a", "b"],
                      input_data={"item": "$results.extract.0"}, dependencies=["extract"]),
        ])  # fmt: skip

    world = World(nightly, extract, double, shelf)
    with pytest.raises(Rejected, match="step 'shelve': invalid_arguments: .* got `int`"):  # a number is no text
        world.ask(nightly, "run-1", "run", {"input": {"source": "abc"}})
    assert world.query(nightly, "run-1", "current")["published"] == {"extract": "done"}
    assert world.query(nightly, "run-1", "current")["status"] == "failed"


def test_given_object_keys_then_a_method_of_each_entity_is_called() -> None:
    @flow
    def stocking() -> FlowDefinition:
        return FlowDefinition([
            task_step("one", service_name="shelf", handler_name="put", object_keys=["a"], input_data={"item": "x"}),
            task_step("two", service_name="shelf", handler_name="put", object_keys=["b", "c"], input_data="$input"),
        ])

    world = World(stocking, shelf)
    found = world.ask(stocking, "run-1", "run", {"input": {"item": "y"}})
    assert found == {"one": "x on a", "two": {"b": "y on b", "c": "y on c"}}


def waiting() -> Any:
    return flow_workflow(
        "waiting",
        FlowDefinition([
            wait_signal_step("approved", signal_name="approved", timeout_ms=60_000, on_timeout="escalate"),
            task_step("escalate", handler_name="extract", input_data={"source": "late"}),
            task_step(
                "publish", handler_name="double", input_data={"rows": [1]}, dependencies=["approved", "escalate"]
            ),
        ]),
    )


def test_given_a_signal_that_comes_then_what_stands_for_it_does_not_run() -> None:
    kind = waiting()
    world = World(kind, extract, double)
    world.signal(kind, "run-1", "start", "approved", True)
    assert world.ask(kind, "run-1", "run", id="start") == {"publish": [2]}
    published = world.query(kind, "run-1", "current")["published"]
    assert published == {"approved": "done", "escalate": "skipped", "publish": "done"}


def test_given_a_signal_that_does_not_come_then_what_stands_for_it_runs() -> None:
    kind = waiting()
    world = World(kind, extract, double)
    assert world.ask(kind, "run-1", "run") == {"publish": [2]}
    published = world.query(kind, "run-1", "current")["published"]
    assert published == {"approved": "timed_out", "escalate": "done", "publish": "done"}


def test_given_a_signal_for_which_nothing_stands_when_it_does_not_come_then_the_run_fails() -> None:
    kind = flow_workflow("w", FlowDefinition([wait_signal_step("approved", signal_name="ok", timeout_ms=1000)]))
    with pytest.raises(Rejected, match="step 'approved': no signal 'ok' came within 1 s"):
        World(kind).ask(kind, "run-1", "run")


def test_given_a_task_that_fails_then_it_is_tried_again_as_its_timer_says_and_then_the_run_fails() -> None:
    tried: list[str] = []

    @function(name="flaky", retry=RetryPolicy(max_attempts=1))
    async def flaky(enough: int) -> int:
        tried.append("once")
        if len(tried) < enough:
            raise Rejected("not yet")
        return len(tried)

    kind = flow_workflow(
        "stubborn",
        FlowDefinition([
            task_step("try", handler_name="flaky"),
            wait_timer_step("backoff", delay_ms=5000, max_retries=2, dependencies=["try"]),
            task_step("after", handler_name="double", input_data={"rows": ["$results.try"]}, dependencies=["backoff"]),
        ]),
    )
    world = World(kind, flaky, double)
    assert world.ask(kind, "run-1", "run", {"input": {"enough": 3}}) == {"after": [6]}
    tried.clear()
    with pytest.raises(Rejected, match="step 'try': not yet"):
        World(kind, flaky, double).ask(kind, "run-2", "run", {"input": {"enough": 4}})
    assert len(tried) == 3


def test_given_timers_then_they_wait_so_long_or_until_the_cron_expression_is_due() -> None:
    kind = flow_workflow(
        "late",
        FlowDefinition([
            wait_timer_step("pause", delay_ms=90_000),
            wait_timer_step("night", cron_expr="0 3 * * *", timezone="Europe/Berlin", dependencies=["pause"]),
        ]),
    )
    world = World(kind)
    before = world.clock.now()
    ended = world.ask(kind, "run-1", "run")["night"]
    assert before + 90 < ended <= before + 90 + 86_400
    assert ended % 86_400 in (3_600, 7_200)  # three o'clock in Berlin is 1 or 2 UTC
