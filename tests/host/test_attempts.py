"""Attempts are counted in the log: each is made once, whoever makes it."""

from __future__ import annotations

import pytest
from msgspec import Struct

from runtime.entity import entity
from runtime.errors import CallFailed
from runtime.function import function
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from schemas.address import partition_of
from tests.host.test_refusals import REFUSED, let_pass, refuse
from tests.host.test_versions import hurry
from tests.support.system import System, run, until

tried: list[int] = []
"""The numbers of the attempts that were made in this process."""


@pytest.fixture(autouse=True)
def none_was_tried() -> None:
    tried.clear()


class Never(Struct, frozen=True):
    pass


def stay(state: int, event: Never) -> int:
    """The fold of `hopeless`."""
    return state


hopeless = entity("hopeless", initial=0, apply=stay, retry=RetryPolicy(max_attempts=3, first_delay_s=0.02))


@hopeless.command(name="try")
def try_in_vain(state: int, ctx: Turn) -> Never:
    tried.append(ctx.attempt)
    raise ValueError("not this time")


@function(name="second", retry=RetryPolicy(max_attempts=5, first_delay_s=3600.0, max_delay_s=3600.0))
async def second(ctx: Turn) -> int:
    tried.append(ctx.attempt)
    if ctx.attempt < 2:
        raise ValueError("the second time")
    return ctx.attempt


def test_given_a_decision_that_always_fails_when_tried_then_each_attempt_has_the_next_number(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(hopeless), system.client() as client:
            with pytest.raises(CallFailed, match="not this time"):
                await client.ask(hopeless, "a", "try")

    run(scenario())
    assert tried == [1, 2, 3]


def test_given_an_execution_that_backs_off_when_its_lane_is_taken_anew_then_the_next_owner_goes_on_counting(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(second) as pod, system.client() as client:
            started = await client.submit(second, "a", "run")
            await until(lambda: system.sql("SELECT state FROM pending") == [("backoff",)])
            hurry(system)
            for lane in list(pod.lanes.values()):
                pod.lose(lane)
            pod.leases.look_now()
            assert await started.result(timeout_s=60) == 2

    run(scenario())
    assert tried == [1, 2]


DIED = "UPDATE partitions SET owner = 'dead', probe_seq = 1, probe_count = 3 WHERE partition = %s"


def test_given_a_command_that_killed_its_process_when_it_cannot_be_parked_then_it_is_not_tried_again(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    """As three pods that died of it have left it: alone in its lane, and counted three times."""
    lane = partition_of("default", "hopeless", "a", system.partitions)

    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(hopeless):
                pass
            await client.tell(hopeless, "a", "try")
            system.sql(DIED, lane)
            refuse(system, "dead_letters", REFUSED)
            async with system.pod(hopeless):
                await until(lambda: caplog.text.count("cannot be parked") > 1 or tried)
                assert tried == []
                let_pass(system)
                await until(lambda: system.sql("SELECT attempts FROM dead_letters") == [(3,)])
                assert tried == []

    run(scenario())
