"""What must not grow without end: mailboxes, and the answers kept for repeats."""

from __future__ import annotations

import asyncio

import psycopg

from runtime.host.lane import MAILBOX_LIMIT
from runtime.host.pod import Pod
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until


def test_given_a_log_that_stands_still_when_commands_pour_in_then_they_wait_in_the_broker(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", Add(1))
            with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as holding:
                holding.execute("LOCK TABLE events IN SHARE MODE")
                await asyncio.gather(*[client.tell(counter, "a", Add(1)) for _ in range(3 * MAILBOX_LIMIT)])
                await until(lambda: max((lane.queued for lane in pod.lanes.values()), default=0) >= MAILBOX_LIMIT // 2)
                for _ in range(50):
                    assert all(lane.queued <= MAILBOX_LIMIT for lane in pod.lanes.values())
                    await asyncio.sleep(0.01)
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(3 * MAILBOX_LIMIT + 1,)])
            await until(lambda: pod.mailboxes.bytes == 0)

    run(scenario())


def test_given_answers_older_than_the_window_when_trimmed_then_only_what_nobody_can_repeat_goes(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=0.0, inbox_window_s=0.0) as pod, system.client() as client:
            for n in range(5):
                await client.ask(counter, f"k{n}", Add(1), id=f"early-{n}")
            await pod.housekeeping.trim_inbox()
            assert system.sql("SELECT count(*) FROM inbox") == [(5,)], "the stream still holds their commands"
            await client.ask(counter, "a", Add(1), id="last")
            await until(lambda: _alone(pod))
            await pod.housekeeping.trim_inbox()

    run(scenario())
    assert system.sql("SELECT command_id FROM inbox") == [("last",)]


async def _alone(pod: Pod) -> bool:
    """Whether CMD holds no more than its last message, after trimming."""
    await pod.housekeeping.move_anchors()
    await asyncio.sleep(0.05)
    await pod.housekeeping.trim()
    return int((await pod.connection.jetstream().stream_info("CMD")).state.messages) <= 1
