"""Runs and versions of their code, side by side in pods of their own: who goes on with what, and if one is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.client import Client, Run
from runtime.errors import CallFailed
from tests.host.test_promotion import _ready, promote
from tests.support.patience import PATIENCE_S
from tests.support.system import PodProcess, System, run, until


def start(system: System, version: str) -> PodProcess:
    return system.start_pod(f"tests.support.ordering_{version}", group=version, code_version=version)


def test_given_runs_of_one_version_when_a_newer_one_comes_then_they_stay_with_theirs_until_that_is_promoted(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "done"
    old = start(system, "v1")
    new = start(system, "v2")

    async def begin(client: Client, name: str) -> Run:
        begun = await client.submit("ordering", name, "run", {"path": str(path), "name": name})
        await until(lambda: path.exists() and f"first of {name}\n" in path.read_text())
        return begun

    async def go(begun: Run) -> None:
        await begun.signal("go", timeout_s=PATIENCE_S)
        done = f"SELECT 1 FROM log WHERE key = '{begun.key}' AND payload->>'step' IN ('second', 'third')"
        await until(lambda: system.sql(done))

    async def end(begun: Run) -> list[str]:
        await begun.signal("end", timeout_s=PATIENCE_S)
        result: list[str] = await begun.result(list[str], timeout_s=PATIENCE_S)
        return result

    async def scenario() -> None:
        async with system.client() as client:
            await until(lambda: _ready(client, "v2"))
            beside, before, behind = [await begin(client, name) for name in ("beside", "before", "behind")]
            # The newer version is up, and stands by: runs stay with the code that began them.
            await go(beside)
            await go(behind)
            assert await end(beside) == ["v1 first of beside", "v1 second of beside"]
            # The old one is gone: nobody goes on with its runs, and what is asked of it waits.
            await asyncio.to_thread(old.kill)
            late = await client.submit("ordering", "late", "run", {"path": str(path), "name": "late"})
            await promote(client, "v2")
            # From the promotion on all runs have the new code, and those that had gone the old way go on with it.
            await go(before)
            assert await end(before) == ["v1 first of before", "v2 third of before"]
            assert await end(behind) == ["v1 first of behind", "v1 second of behind"]
            await go(late)
            assert await end(late) == ["v2 first of late", "v2 third of late"]
            with pytest.raises(CallFailed, match="v1"):
                await client.service("promote", {"group": "v1"}, timeout_s=6.0)

    run(scenario())
    new.terminate()
    lines = path.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 8
