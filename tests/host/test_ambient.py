"""A run that goes on in another pod reads what it has read, and neither counts nor logs again what it did."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from runtime import KeyValue, Turn, Workflow, function, keyvalue, workflow
from runtime.ambient import metrics
from runtime.ambient.metrics import Registry
from tests.support.configured import Settings, configured
from tests.support.system import System, run, until


@pytest.fixture
def settings() -> Iterator[Settings]:
    with configured(limit=1) as found:
        yield found


def half(number: int) -> int:
    return number // 2


@workflow
async def moving(ctx: Workflow) -> list[Any]:
    """Does something, waits, and does something else."""
    ctx.metrics.count("begun")
    ctx.log.info("begun")
    limits = [ctx.config.get("limit")]
    await ctx.step(half, 2)
    ctx.log.info("first half")
    await ctx.signal("go")
    ctx.metrics.count("ended")
    ctx.log.info("ended")
    return [*limits, ctx.config.get("limit"), ctx.config.get("other", "none")]


@function
async def trotting(ctx: Turn) -> list[Any]:
    """The same in a function."""
    limits = [ctx.config.get("limit")]
    await ctx.step("half", half, 2)
    ctx.metrics.count("trotted")
    await ctx.signal("go")
    return [*limits, ctx.config.get("limit")]


tally = keyvalue("tally")


@tally.write
def tick(ctx: KeyValue) -> Any:
    """A decision counts as well."""
    ctx.metrics.count("ticks")
    return ctx.config.get("limit")


def test_given_runs_that_go_on_in_another_pod_when_the_configuration_has_changed_then_they_do_as_before(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry()
    monkeypatch.setattr(metrics, "registry", registry)
    caplog.set_level(logging.INFO, "troupe.handlers")
    kinds = (moving, trotting, tally)
    steps = "SELECT count(*) FROM log WHERE type = 'troupe.step' AND payload->>'step' = 'half'"

    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(*kinds):
                runs = [await client.submit(kind, "k", "run") for kind in (moving, trotting)]
                assert await client.ask(tally, "t", "tick") == 1
                await until(lambda: system.sql(steps) == [(2,)])
                await until(lambda: "first half" in caplog.messages)  # the run has heard that its step is committed
            settings.values = {"limit": 2, "other": "some"}
            async with system.pod(*kinds):
                assert await client.ask(tally, "t", "tick") == 2
                for one in runs:
                    await one.signal("go", timeout_s=60)
                assert await runs[0].result(timeout_s=60) == [1, 1, "some"]
                assert await runs[1].result(timeout_s=60) == [1, 1]

    run(scenario())
    assert [(name, total) for name, _, total, _ in registry.all()] == [
        ("begun", 1.0), ("ended", 1.0), ("ticks", 2.0), ("trotted", 1.0)
    ]  # fmt: skip
    assert (caplog.messages.count("begun"), caplog.messages.count("ended")) == (1, 1)
