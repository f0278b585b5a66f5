"""How long answers are kept: beyond their window as long as anything may still repeat what they answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from runtime.host.pod import Pod
from tests.host.test_bounds import _alone
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

AN_HOUR_S = 3600.0
EARLY = {f"early-{n}" for n in range(5)}
UNSENT = """
    INSERT INTO groups (name) VALUES ('idle');
    INSERT INTO partitions (lane, group_name, partition, checkpoint, checkpoint_at)
    VALUES (999, 'idle', 0, 1000000, 4000000000000000000);
    INSERT INTO outbox (lane, ord, message_id, subject, headers, body) VALUES (999, 1, 'm', 's', '{}', '')
"""
AN_HOUR_PASSED = (
    "UPDATE inbox SET at = at - interval '1 hour' WHERE command_id LIKE 'early%'",
    "UPDATE outbox SET at = at - interval '1 hour'",
    "UPDATE pending SET since = since - interval '1 hour'",
)
RUNNING_FOR_NOBODY = """
    INSERT INTO groups (name) VALUES ('idle');
    INSERT INTO partitions (lane, group_name, partition, checkpoint, checkpoint_at)
    VALUES (999, 'idle', 0, 1000000, 4000000000000000000);
    INSERT INTO pending (lane, actor, command_id, tenant, kind, key, method, digest, state, holds, headers, body)
    VALUES (999, gen_random_uuid(), 'i', 'default', 'old', 'k', 'run', 0, 'running', true, '{}', '')
"""
UNFIRED = """
    INSERT INTO timers (actor, name, lane, due_at, fire_id, tenant, kind, key, method, headers, body)
    SELECT actor, 'later', lane, now() + interval '1 hour', command_id, 'default', 'counter', 'k3', 'add', '{}', ''
    FROM inbox WHERE command_id = 'early-3'
"""


async def trimmed(system: System, pod: Pod) -> set[str]:
    """The ids of the early answers that are left when the stream holds their commands no more."""
    async with system.client() as client:
        await client.ask(counter, "a", Add(1))
    await until(lambda: _alone(pod))
    for statement in AN_HOUR_PASSED:  # for what has an age; beyond any difference of the servers' clocks
        system.sql(statement)
    await pod.housekeeping.trim_inbox()
    return {row[0] for row in system.sql("SELECT command_id FROM inbox WHERE command_id LIKE 'early%'")}


async def answer_early(system: System) -> None:
    """Five commands, answered now."""
    async with system.client() as client:
        await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1), id=f"early-{n}") for n in range(5)])


def test_given_answers_within_the_window_when_trimmed_then_they_stay(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=0.0, inbox_window_s=2 * AN_HOUR_S) as pod:
            await answer_early(system)
            assert await trimmed(system, pod) == EARLY, "an hour old by now"
            await trimmed(system, pod)
            assert await trimmed(system, pod) == set(), "three hours old"

    run(scenario())


def test_given_an_unsent_message_when_answers_are_trimmed_then_those_that_came_after_it_stay(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=0.0, inbox_window_s=0.0) as pod:
            system.sql(UNSENT)  # in a lane whose group nobody runs now
            await answer_early(system)
            assert await trimmed(system, pod) == EARLY
            system.sql("DELETE FROM outbox")
            assert await trimmed(system, pod) == set()

    run(scenario())


def test_given_a_timer_that_has_not_fired_when_answers_are_trimmed_then_its_own_stays(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=0.0, inbox_window_s=0.0) as pod:
            await answer_early(system)
            system.sql(UNFIRED)
            assert await trimmed(system, pod) == {"early-3"}
            system.sql("DELETE FROM timers")
            assert await trimmed(system, pod) == set()

    run(scenario())


def test_given_a_running_execution_when_answers_are_trimmed_then_those_since_its_start_stay(
    system: System, tmp_path: Path
) -> None:
    """What it asks of others, it asks again under the same ids when it is started again."""
    path = tmp_path / "go"

    async def scenario() -> None:
        async with system.pod(trim_lag_s=0.0, inbox_window_s=0.0) as pod, system.client() as client:
            wanted = {"item": "x", "quantity": 1, "path": str(path)}
            slow = asyncio.ensure_future(client.ask("cart", "c", "put_slowly", wanted, timeout_s=120))
            await until(lambda: system.sql("SELECT state FROM pending") == [("running",)])
            await answer_early(system)
            assert await trimmed(system, pod) == EARLY
            assert system.sql("SELECT state FROM pending") == [("running",)]
            path.touch()
            await slow
            assert await trimmed(system, pod) == set()

    run(scenario())


def test_given_an_execution_of_a_retired_group_when_answers_are_trimmed_then_they_are_not_kept_for_it(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter, trim_lag_s=0.0, inbox_window_s=0.0) as pod:
            system.sql(RUNNING_FOR_NOBODY)
            await answer_early(system)
            assert await trimmed(system, pod) == EARLY
            system.sql("UPDATE groups SET retired_at = now() WHERE name = 'idle'")
            assert await trimmed(system, pod) == set()

    run(scenario())
