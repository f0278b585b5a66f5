"""Commands that start later, and those of which only the last one runs. What is due in an hour is made due by SQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.client import Client
from runtime.client.runs import Run
from runtime.errors import CallFailed
from tests.host.test_steps import lines
from tests.support.laters import desk, last, later
from tests.support.system import System, run, until

MODULE = "tests.support.laters"
HOUR_S = 3600.0
WAITING = "SELECT command_id FROM pending WHERE state = 'waiting' AND due_at > now() + interval '10 minutes'"


async def due(system: System, table: str = "pending") -> None:
    """Kills no pod, but has all that is due in an hour be due now, on another pod: alarms are in a pod's memory."""
    for pod in system._processes:
        if pod.process.poll() is None:
            pod.kill()
    system.sql(f"UPDATE {table} SET due_at = now()")
    await asyncio.to_thread(system.start_pod, MODULE)


async def submitted(client: Client, kind: str, key: str, method: str, id: str, **args: str) -> Run:
    return await client.submit(kind, key, method, args, id=id, delay_s=HOUR_S, timeout_s=60)


def test_given_commands_that_start_later_when_the_pod_dies_then_each_runs_once_and_not_before(
    system: System, tmp_path: Path
) -> None:
    system.start_pod(MODULE)
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.client() as client:
            runs = []
            for _ in range(2):  # the second time is a repeat
                runs = [
                    await submitted(client, "later", "k", "run", "a", path=str(path), text="function"),
                    await submitted(client, "desk", "k", "mark", "b", path=str(path), text="decision"),
                ]
            await until(lambda: len(system.sql(WAITING)) == 2)
            # Neither holds its key, so what comes later goes first.
            assert await client.ask(desk, "k", "mark", {"path": str(path), "text": "now"}, timeout_s=60) == "now"
            assert [(await one.status()).status for one in runs] == ["accepted", "accepted"]
            with pytest.raises(CallFailed, match="id_reused"):
                await client.ask(later, "k", {"path": "x", "text": "other"}, id="a", timeout_s=60)
            assert lines(path) == ["now"]
            await due(system)
            assert [await one.result(timeout_s=60) for one in runs] == ["function", "decision"]

    run(scenario())
    assert sorted(lines(path)) == ["decision", "function", "now"]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_a_key_that_is_held_when_something_is_due_then_it_waits_and_holds_the_key_in_turn(
    system: System, tmp_path: Path
) -> None:
    system.start_pod(MODULE)
    first, second = tmp_path / "first", tmp_path / "second"

    async def scenario() -> None:
        async with system.client() as client:
            delayed = await submitted(client, "desk", "k", "hold", "d", path=str(second))
            await until(lambda: system.sql(WAITING) == [("d",)])
            holding = await client.submit(desk, "k", "hold", {"path": str(first)}, id="h")
            await until(lambda: lines(first))
            await due(system)
            await until(lambda: len(lines(first)) == 2)  # it began anew on the other pod
            assert lines(second) == []
            Path(f"{first}.go").touch()
            await until(lambda: lines(second))
            assert lines(first)[-1] == "free k"
            assert await holding.result() == "free k"
            marking = asyncio.ensure_future(client.ask(desk, "k", "mark", {"path": str(second), "text": "behind"}))
            await until(lambda: system.sql("SELECT count(*) FROM pending WHERE holds") == [(2,)])
            Path(f"{second}.go").touch()
            assert await delayed.result() == "free k"
            assert await marking == "behind"

    run(scenario())
    assert lines(second) == ["hold k", "free k", "behind"]


def test_given_what_starts_later_when_it_is_signalled_or_cancelled_then_it_waits_or_ends_without_running(
    system: System, tmp_path: Path
) -> None:
    system.start_pod(MODULE)
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.client() as client:
            heard = await submitted(client, "desk", "a", "listen", "s", path=str(path))
            ended = [
                await submitted(client, "later", "k", "run", "f", path=str(path), text="no"),
                await submitted(client, "desk", "b", "mark", "m", path=str(path), text="no"),
            ]
            await until(lambda: len(system.sql(WAITING)) == 3)
            await heard.signal("word", "hello")
            for one in ended:
                await one.cancel("not wanted")
                with pytest.raises(CallFailed, match="cancelled"):
                    await one.result(timeout_s=60)
            assert system.sql(WAITING) == [("s",)]
            await due(system)
            assert await heard.result(timeout_s=60) == "hello"

    run(scenario())
    assert lines(path) == ["hello"]


def test_given_calls_of_a_debounced_function_when_it_is_quiet_then_the_last_one_of_each_key_runs(
    system: System, tmp_path: Path
) -> None:
    system.start_pod(MODULE)
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.client() as client:
            runs = {}
            for key in ("x", "y"):
                for number in range(3):
                    question = {"path": str(path), "text": f"{key}{number}"}
                    receipts = [await client.ask(last, key, question, id=f"{key}{number}") for _ in range(2)]
                    assert receipts[0] == receipts[1], "a repeat does not begin the quiet time anew"
                    runs[key] = receipts[0]["run"]
            with pytest.raises(CallFailed, match="invalid_arguments"):
                await client.ask(last, "x", {"path": 1})
            assert lines(path) == []
            await due(system, "timers")
            assert [await client.run(id).result(timeout_s=60) for id in runs.values()] == ["x2", "y2"]

    run(scenario())
    assert sorted(lines(path)) == ["x2", "y2"]


@pytest.mark.parametrize("waits", [False, True])
def test_given_a_time_for_all_attempts_when_it_is_over_then_there_are_no_more(
    system: System, tmp_path: Path, waits: bool
) -> None:
    system.start_pod(MODULE)
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.client() as client:
            with pytest.raises(CallFailed, match="time-out" if waits else "again"):
                await client.ask("hurried", "k", "run", {"path": str(path), "waits": waits}, timeout_s=60)

    run(scenario())
    assert 1 <= len(lines(path)) < 10, "a hundred attempts would be allowed"
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]
