"""Limits on real servers: over all pods, and when these die, no more runs go on than may, and no permit is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from runtime.client import Client
from runtime.errors import CallFailed
from runtime.function import Function, function
from runtime.kind import with_companions
from runtime.limits import Limits
from runtime.turn import Turn
from tests.host.test_steps import lines
from tests.support.limited import ONCE, pair, single
from tests.support.steppers import note, wait_for
from tests.support.system import System, run, until

MODULE = "tests.support.limited"


def most_at_once(path: Path) -> int:
    """How many runs went on at a time at most; one that began anew, on another pod, is one."""
    going_on: set[str] = set()
    most = 0
    for line in lines(path):
        deed, id = line.split()
        going_on = going_on | {id} if deed == "begin" else going_on - {id}
        most = max(most, len(going_on))
    return most


async def permits(client: Client) -> tuple[int, int]:
    """(held, waiting) of the limiter."""
    reply = await client.read("pair-limit", "all", "$describe", b"", timeout_s=60)
    state = msgspec.json.decode(reply.result)["state"] or {}
    return len(state.get("held", {})), len(state.get("waiting", []))


def test_given_a_limit_when_pods_are_killed_and_runs_fail_or_are_cancelled_then_it_holds_and_nothing_is_lost(
    system: System, tmp_path: Path
) -> None:
    pods = [system.start_pod(MODULE), system.start_pod(MODULE)]
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.client() as client:
            runs = {
                f"r{number}": await client.submit(
                    pair, f"k{number}", {"path": str(path), "fails": number == 4}, id=f"r{number}"
                )
                for number in range(8)
            }
            await until(lambda: len(lines(path)) >= 2)

            async def all_have_asked() -> bool:
                return await permits(client) == (2, 6)

            await until(all_have_asked)
            begun = {line.split()[1] for line in lines(path)}
            cancelled = next(id for id in runs if id not in begun and id != "r4")
            await runs[cancelled].cancel("not wanted", timeout_s=60)
            for pod in pods:
                pod.kill()
            await asyncio.to_thread(system.start_pod, MODULE)
            await asyncio.to_thread(system.start_pod, MODULE)
            Path(f"{path}.go").touch()
            for id, one in runs.items():
                if id in (cancelled, "r4"):
                    with pytest.raises(CallFailed, match="cancelled" if id == cancelled else "as it was told"):
                        await one.result(timeout_s=60)
                else:
                    assert await one.result(timeout_s=60) == id

            async def all_is_free() -> bool:
                return await permits(client) == (0, 0)

            await until(all_is_free)

    run(scenario())
    assert most_at_once(path) == 2
    assert len({line.split()[1] for line in lines(path)}) == 7, "the one that was cancelled while it waited never began"


def test_given_one_at_a_time_of_each_key_when_several_are_called_then_they_go_on_one_after_the_other(
    system: System, tmp_path: Path
) -> None:
    system.start_pod(MODULE)

    async def scenario() -> None:
        async with system.client() as client:
            paths = {key: tmp_path / key for key in ("x", "y")}
            runs = [
                await client.submit(single, key, {"path": str(path)}, id=f"{key}{number}")
                for number in range(3)
                for key, path in paths.items()
            ]
            await until(lambda: all(lines(path) for path in paths.values()))
            await until(lambda: system.sql("SELECT count(*) FROM pending WHERE state = 'waiting'") == [(4,)])
            for key, path in paths.items():
                assert lines(path) == [f"begin {key}0"]
                Path(f"{path}.go").touch()
            assert [await one.result(timeout_s=60) for one in runs] == [one.command_id for one in runs]
            assert all(most_at_once(path) == 1 for path in paths.values())

    run(scenario())


def doing(concurrency: int) -> Function:
    """The same function with other limits, as a newer version of the code may have."""

    @function(name="doing", retry=ONCE, limits=Limits(concurrency=concurrency))
    async def run(ctx: Turn, path: str) -> str:
        note(path, f"begin {ctx.command_id}")
        await wait_for(f"{path}.go")
        note(path, f"end {ctx.command_id}")
        return ctx.command_id

    return run


def test_given_runs_that_wait_when_the_limits_are_changed_then_they_go_on_by_the_new_ones(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(*with_companions([doing(1)])):
                runs = [await client.submit("doing", key, "run", {"path": str(path)}, id=key) for key in "abc"]
                await until(lambda: system.sql("SELECT count(*) FROM log WHERE type = 'troupe.answer'") == [(3,)])
            async with system.pod(*with_companions([doing(2)])):
                await until(lambda: len(lines(path)) >= 1)
                Path(f"{path}.go").touch()
                assert [await one.result(timeout_s=60) for one in runs] == ["a", "b", "c"]

    run(scenario())


def test_given_a_run_that_waited_when_it_is_forked_then_the_fork_has_a_permit_of_its_own(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(*with_companions([doing(1)])), system.client() as client:
            first, second = [
                await client.submit("doing", key, "run", {"path": str(path)}, id=key) for key in ("first", "second")
            ]
            await until(lambda: system.sql("SELECT count(*) FROM log WHERE type = 'Queued'") == [(2,)])
            Path(f"{path}.go").touch()
            assert [await first.result(timeout_s=60), await second.result(timeout_s=60)] == ["first", "second"]
            Path(f"{path}.go").unlink()
            forks = [
                await one.fork(at, id=f"fork{at} of {one.key}".replace(" ", "-"))
                for one, at in ((first, 1), (second, 1), (second, 2))
            ]
            await until(lambda: system.sql("SELECT count(*) FROM log WHERE type = 'Queued'") == [(5,)])
            await until(lambda: len(lines(path)) == 5)  # one of three has begun
            Path(f"{path}.go").touch()
            assert [await one.result(timeout_s=60) for one in forks] == [one.command_id for one in forks]

    run(scenario())
    assert most_at_once(path) == 1
