"""Suspended runs: what only waits costs nothing, is nobody's to blame, and misses nothing that is said to it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nats
import psycopg
import pytest

from runtime.client import Client
from runtime.client.runs import Run
from runtime.errors import CallFailed
from runtime.host.pod import Pod
from tests.host.test_messages import MODULE, noted, said
from tests.host.test_steps import lines, owner
from tests.support.system import PodProcess, System, run, until
from tests.support.waiters import runner, sleeper, slow, waiter

SOON_S = 0.2
LONG_S = 60.0
SUSPENDED = "SELECT command_id FROM pending WHERE state = 'waiting' AND due_at > now()"


def is_suspended(system: System, id: str = "run") -> bool:
    return (id,) in system.sql(SUSPENDED)


async def suspended(system: System, client: Client, method: str, args: Any, id: str = "run") -> Run:
    """A run of a waiter's handler, once it is suspended."""
    started = await client.submit(waiter, "w", method, args, id=id)
    await until(lambda: is_suspended(system, id), LONG_S)
    return started


def active(pod: Pod) -> int:
    return sum(len(lane.active) for lane in pod.lanes.values())


async def alone(pod: Pod) -> bool:
    """Whether no task is left in the loop of handlers."""

    async def tasks() -> int:
        return len(asyncio.all_tasks())

    return await pod.executions.loop.run(tasks()) == 1


def attempts(path: Path) -> int:
    return lines(path).count("attempt")


async def replace(system: System, pods: list[PodProcess]) -> None:
    """Kills the last pod, and starts another one; returns when that has what is pending."""
    pods[-1].kill()
    pods.append(await asyncio.to_thread(system.start_pod, MODULE, suspend_after_s=SOON_S))
    await until(lambda: system.sql("SELECT count(*) FROM pending p JOIN partitions l USING (lane) "
                                   "WHERE l.owner IS DISTINCT FROM %s", pods[-1].name) == [(0,)], LONG_S)  # fmt: skip


def test_given_runs_that_wait_when_more_pods_die_than_an_execution_may_kill_then_none_is_parked(
    system: System, tmp_path: Path
) -> None:
    path, slept = tmp_path / "notes", tmp_path / "slept"
    pods = [system.start_pod(MODULE, suspend_after_s=SOON_S)]

    async def scenario() -> None:
        async with system.client() as client:
            collecting = await suspended(system, client, "collect", {"path": str(path), "count": 7})
            sleeping = await client.submit(sleeper, "s", "run", {"path": str(slept), "seconds": 12}, id="sleeps")
            await until(lambda: system.sql("SELECT seq FROM log WHERE payload->>'step' = '$sleep'"), LONG_S)
            for number in range(7):
                await until(lambda: is_suspended(system), LONG_S)
                await replace(system, pods)
                await collecting.signal("value", number)
                await until(partial(noted, system, number + 1), LONG_S)
            assert await collecting.result(timeout_s=60) == list(range(7))
            assert await sleeping.result(timeout_s=60) == "after"

    run(scenario())
    assert lines(path) == [f"value {number}" for number in range(7)]
    assert lines(slept).count("before") == 1
    assert lines(slept)[-1] == "after", "once or more: its pod may have been killed just then"
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_given_a_thousand_runs_that_wait_then_nothing_of_them_is_left_in_memory_and_all_go_on(system: System) -> None:
    many = 1000

    def count() -> Any:
        return system.sql("SELECT count(*) FROM pending WHERE state = 'waiting' AND due_at > now()")

    async def scenario() -> None:
        async with system.pod(waiter, suspend_after_s=SOON_S) as pod, system.client() as client:
            before = len(asyncio.all_tasks())
            arguments = {"path": "/dev/null", "count": 1}
            runs = await asyncio.gather(*[
                client.submit(waiter, f"w{number}", "collect", arguments) for number in range(many)
            ])  # fmt: skip
            await until(lambda: count() == [(many,)], 120)
            await until(lambda: active(pod) == 0)
            assert len(asyncio.all_tasks()) < before + many / 10
            await until(lambda: alone(pod))
            assert len(pod.executions) == 0
            assert len(pod.alarms) == 0, "what waits for long is read when its time is near"
            assert pod.activations.passivate(float("inf")) == many, "an actor that waits need not be in memory"
            await asyncio.gather(*[started.signal("value", 1) for started in runs])
            assert await asyncio.gather(*[started.result(timeout_s=120) for started in runs]) == [[1]] * many

    run(scenario())


@contextlib.contextmanager
def held_up(system: System, pod: Pod) -> Iterator[Callable[[], None]]:
    """Holds up the commits of the run's lane, until what it gives is called."""
    lane = next(lane for lane in pod.lanes.values() if lane.held)
    with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as locking:
        locking.execute("SELECT FROM partitions WHERE lane = %s FOR UPDATE", (lane.lane,))
        yield locking.rollback


@pytest.mark.parametrize("order", ["committed before", "before in its batch", "behind in its batch"])
def test_given_a_signal_that_comes_while_its_run_is_being_suspended_then_it_is_heard(
    system: System, tmp_path: Path, order: str
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        raw = await nats.connect(system.nats_url)

        async def publish() -> None:
            await raw.publish("cmd.default.waiter.w.$signal", b'{"run": "run", "name": "value", "value": 7}')

        async with system.pod(waiter, suspend_after_s=SOON_S) as pod, system.client() as client:
            started = await client.submit(waiter, "w", "chorus", {"path": str(path)}, id="run")
            await until(lambda: attempts(path) == 1)
            lane = next(lane for lane in pod.lanes.values() if lane.held)
            with held_up(system, pod) as let_go:
                if order == "committed before":
                    await publish()
                else:
                    await client.submit(waiter, "w", "put", {"value": 1})
                await until(lambda: lane.queued >= 1 or not lane.alive)  # in the batch that is held up
                if order == "before in its batch":
                    await publish()
                    await until(lambda: lane.queued >= 2 or not lane.alive)
                Path(f"{path}.go").touch()
                await until(lambda: alone(pod))  # it is stopped, and its end waits behind that batch
                if order == "behind in its batch":
                    await publish()
                    await until(lambda: lane.queued >= 2 or not lane.alive)
                let_go()
            assert await started.result(timeout_s=30) == 7
        await raw.close()

    run(scenario())
    assert attempts(path) >= 2, "it was suspended"


def test_given_signals_at_any_time_when_a_run_is_suspended_between_them_then_each_is_taken_in_order(
    system: System, tmp_path: Path
) -> None:
    path, many = tmp_path / "notes", 30

    async def scenario() -> None:
        async with system.pod(waiter, suspend_after_s=0.005) as pod, system.client() as client:
            collecting = await client.submit(waiter, "w", "collect", {"path": str(path), "count": many}, id="run")
            for number in range(many):
                await asyncio.sleep(pod.clock.random() * 0.06)
                await collecting.signal("value", number)
            assert await collecting.result(timeout_s=60) == list(range(many))

    run(scenario())
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_a_suspended_run_with_a_time_out_then_its_time_is_that_of_the_first_wait(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(waiter, suspend_after_s=SOON_S), system.client() as client:
            waiting = await suspended(system, client, "patient", {"path": str(path), "timeout_s": 4.0})
            rows = system.sql("SELECT extract(epoch FROM due_at)::float8 FROM pending")
            ((due,),) = system.sql("SELECT (payload->>'result')::float8 FROM log WHERE seq = 1")
            assert rows == [(pytest.approx(due, abs=0.001),)]
            await until(lambda: said(system, "step") == 2)
            at = "SELECT extract(epoch FROM max(at))::float8 FROM log WHERE type = 'troupe.step'"
            ((timed_out_at,),) = system.sql(at)
            assert timed_out_at >= due - 0.01
            assert system.sql("SELECT (payload->>'result')::float8 FROM log WHERE seq = 1") == [(due,)]
            await until(lambda: is_suspended(system))
            await waiting.signal("go", "gone")
            assert await waiting.result() == "no signal 'go' came within 4 s, then gone"

    run(scenario())


def test_given_a_suspended_run_when_it_is_cancelled_then_it_starts_to_undo_what_it_did(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(waiter, runner, suspend_after_s=SOON_S), system.client() as client:
            travelling = await suspended(system, client, "journey", {"path": str(path)})
            sleeping = await client.submit(runner, "r", "run", {"path": str(tmp_path / "r")}, id="sleeps")
            await until(lambda: is_suspended(system, "sleeps"))
            Path(f"{path}.go").touch()
            for started in (travelling, sleeping):
                await started.cancel("rain")
                with pytest.raises(CallFailed, match="was cancelled: rain"):
                    await started.result(timeout_s=30)

    run(scenario())
    assert lines(path) == ["book", "unbook", "tell"]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_a_suspended_run_that_waits_in_two_tasks_then_updates_and_signals_reach_it(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(waiter, suspend_after_s=SOON_S) as pod, system.client() as client:
            singing = await suspended(system, client, "choir", {"path": str(path)})
            for number in range(3):
                assert await singing.update("number", number, timeout_s=30) == number
                await until(lambda: is_suspended(system))
            ((counted,),) = system.sql("SELECT attempts FROM pending")
            assert counted < 3, "it was suspended four times, and none of them counts"
            await singing.signal("end")
            assert await singing.result(timeout_s=30) == [0, 1, 2]
            await until(lambda: active(pod) == 0)
            await until(lambda: alone(pod))

    run(scenario())
    assert attempts(path) >= 5


def test_given_commands_behind_a_suspended_run_then_they_wait_and_go_on_after_it_and_its_actor_may_pause(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(waiter, suspend_after_s=SOON_S), system.client() as client:
            collecting = await suspended(system, client, "collect", {"path": str(path), "count": 1})
            putting = asyncio.ensure_future(client.ask(waiter, "w", "put", {"value": 9}, timeout_s=60))
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(2,)])

            async def described() -> bool:
                found = await client.query(waiter, "w", "$describe")
                return [row["state"] for row in found["pending"]] == ["suspended", "waiting"]

            await until(described)
            await client.query(waiter, "w", "$order", {"what": "pause"})
            await collecting.signal("value", 5)
            await client.ask(waiter, "other", "put", {"value": 1})
            assert system.sql("SELECT state FROM pending ORDER BY ord") == [("waiting",)] * 2
            assert not lines(path)
            await client.query(waiter, "w", "$order", {"what": "resume"})
            assert await collecting.result(timeout_s=30) == [5]
            assert await putting == 9

    run(scenario())


def test_given_what_a_handler_does_beside_its_wait_then_it_is_not_suspended(system: System, tmp_path: Path) -> None:
    chorus, hasty = tmp_path / "chorus", tmp_path / "hasty"

    async def scenario() -> None:
        async with system.pod(waiter, slow, suspend_after_s=0.05) as pod, system.client() as client:
            singing = await client.submit(waiter, "w", "chorus", {"path": str(chorus)}, id="run")
            asking = await client.submit(waiter, "q", "question", {"path": str(tmp_path / "q"), "to": "s"}, id="asks")
            giving_up = await client.submit(waiter, "h", "hasty", {"path": str(hasty), "seconds": 2.0})
            assert await giving_up.result(timeout_s=30) == "gave up", "its own time-out counts on"
            ran = "SELECT command_id FROM pending WHERE state = 'running' AND command_id IN ('run', 'asks')"
            await until(lambda: len(system.sql(ran)) == 2 and active(pod) == 3)  # with what was asked
            Path(f"{chorus}.go").touch()
            await until(lambda: is_suspended(system))
            await singing.signal("value", "heard")
            assert await singing.result(timeout_s=30) == "heard"
            for end in ("answer", "end"):
                (tmp_path / f"q.{end}").touch()
            assert await asking.result(timeout_s=30) == "thought"

    run(scenario())
    assert attempts(chorus) >= 2


def test_given_a_pod_that_leaves_with_suspended_runs_then_they_stay_as_they_are_and_the_next_one_wakes_them(
    system: System, tmp_path: Path
) -> None:
    path, slept = tmp_path / "notes", tmp_path / "slept"
    pods = [system.start_pod(MODULE, suspend_after_s=SOON_S, drain_s=3600)]

    async def scenario() -> None:
        async with system.client() as client:
            collecting = await suspended(system, client, "collect", {"path": str(path), "count": 1})
            sleeping = await client.submit(sleeper, "s", "run", {"path": str(slept), "seconds": 6}, id="sleeps")
            await until(lambda: is_suspended(system, "sleeps"))
            rows = system.sql("SELECT command_id, due_at FROM pending ORDER BY 1")
            pods[0].process.send_signal(signal.SIGTERM)
            await until(lambda: pods[0].process.poll() is not None, LONG_S)
            assert system.sql("SELECT command_id, due_at FROM pending ORDER BY 1") == rows
            pods.append(await asyncio.to_thread(system.start_pod, MODULE, suspend_after_s=SOON_S))
            assert await sleeping.result(timeout_s=60) == "after"
            assert owner(system, pods) is pods[-1]
            assert system.sql("SELECT command_id, due_at FROM pending") == rows[:1], "each for itself"
            await collecting.signal("value", 3)
            assert await collecting.result(timeout_s=60) == [3]

    run(scenario())
