"""Who is told that a command is done may ask for the state next: it must not be older than that."""

from __future__ import annotations

import asyncio

import psycopg

from runtime.host.outcomes import Outcomes, ResultQuestion
from runtime.host.pod import Pod
from schemas.address import actor_id
from tests.host.test_fence import SEARCH_PATH, WAITING
from tests.support.system import System, run, until

ACTOR = actor_id("default", "counter", "a")


def in_one_batch(pod: Pod) -> bool:
    """Whether every command that was taken is in the batch that is being committed."""
    return len(pod.committer) == 0 and sum(lane.queued for lane in pod.lanes.values()) == 1


def test_given_a_batch_in_hand_when_it_is_waited_for_then_memory_knows_of_it(system: System) -> None:
    async def scenario() -> None:
        async with system.pod() as pod, system.client() as client:
            await client.ask("counter", "a", "add", {"amount": 1})
            with psycopg.connect(system.postgres_url, options=SEARCH_PATH) as other:
                other.execute("LOCK TABLE events IN SHARE MODE")
                asking = asyncio.ensure_future(client.ask("counter", "a", "add", {"amount": 1}))
                await until(lambda: system.sql(WAITING) == [(1,)] and in_one_batch(pod))
            await pod.committer.settled()
            active = pod.activations.get(ACTOR)
            assert active is not None
            assert active.seq == 2
            await asking
            await pod.committer.settled()  # nothing is in hand

    run(scenario())


def test_given_a_command_that_the_log_knows_as_done_when_it_is_asked_for_then_memory_is_waited_for(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod() as pod, system.client() as client:
            await client.ask("counter", "a", "add", {"amount": 1}, id="one")
            moved = asyncio.Event()
            waited = []

            async def settled() -> None:
                waited.append(1)
                await moved.wait()

            outcomes = Outcomes(pod.reader, settled)
            unknown = await outcomes.of(ACTOR, ResultQuestion("another"))
            assert unknown["status"] == "unknown"
            assert waited == []
            asking = asyncio.ensure_future(outcomes.of(ACTOR, ResultQuestion("one")))
            await until(lambda: waited)
            assert not asking.done()
            moved.set()
            assert (await asking)["status"] == "done"

    run(scenario())
