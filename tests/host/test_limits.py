"""Limits on real servers: over all pods, and when these die, no more runs go on than may, and no permit is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from runtime.client import Client
from runtime.errors import CallFailed
from tests.host.test_steps import lines
from tests.support.limited import pair, single
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
