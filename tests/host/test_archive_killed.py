"""Archiving by a process that is killed between any two steps: nothing is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runtime.host.archiver import Archived
from tests.host.test_archive import KEYS, count_up, exactly_once
from tests.support.archive_process import STEPS
from tests.support.archiving import Archive, archive
from tests.support.kinds import Add, counter
from tests.support.system import ROOT, System, run, until

EVENTS = 30 * len(KEYS)


def archiving(system: System, directory: Path, step: str) -> subprocess.Popen[bytes]:
    """A process that archives and dies at a step."""
    words = [system.postgres_url, str(system.partitions), str(directory), step]
    command = [sys.executable, "-m", "tests.support.archive_process", *words]
    return subprocess.Popen(command, cwd=ROOT, env=system.environment())


async def goes_on(there: Archive, before: list[Any]) -> None:
    """The log is what it was, archiving goes on where it was, and so do the actors."""
    assert await there.log() == before
    assert_once(there)

    async def again() -> Archived | None:
        done = await there.away(counter)
        return done if not done.busy else None  # the server lets go of the dead one's locks in its own time

    await until(again)
    assert there.rows == 5 * len(KEYS)
    assert await there.log() == before
    assert_once(there)
    there.system.sql("DELETE FROM snapshots")
    async with there.system.pod(counter), there.system.client() as client:
        assert set(await asyncio.gather(*[client.ask(counter, key, Add(1), timeout_s=60) for key in KEYS])) == {31}


def assert_once(there: Archive) -> None:
    """Each event is a row or in a segment that is there, and not both."""
    ((archived,),) = there.system.sql("SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM segment_actors")
    assert there.rows + archived == EVENTS
    both = "SELECT FROM events e JOIN segment_actors s USING (actor) WHERE e.seq BETWEEN first_seq AND last_seq"
    assert there.system.sql(both) == []
    recorded = {name for (name,) in there.system.sql("SELECT name FROM segments")}
    assert recorded <= {path.relative_to(there.directory).as_posix() for path in there.files}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_given_a_process_killed_at_this_step_when_archiving_goes_on_then_each_event_is_there_once(
    system: System, tmp_path: Path, step: str
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await count_up(client, 30)
        async with archive(system, tmp_path) as there:
            exactly_once(before := await there.log())
            process = archiving(system, tmp_path, step)
            assert await asyncio.to_thread(process.wait) == (0 if step == "never" else -9)
            await goes_on(there, before)

    run(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("table", ["segment_actors", "events"])
def test_given_a_process_killed_in_its_transaction_when_archiving_goes_on_then_each_event_is_there_once(
    system: System, tmp_path: Path, table: str
) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client:
            await count_up(client, 30)
        async with archive(system, tmp_path) as there:
            before = await there.log()
            with psycopg.connect(system.postgres_url) as holding:
                holding.execute(f"LOCK TABLE troupe.{table} IN EXCLUSIVE MODE")
                process = archiving(system, tmp_path, "never")
                waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
                await until(lambda: system.sql(waits, f"troupe.{table}")[0][0], timeout_s=120)
                process.kill()
                process.wait()
            await goes_on(there, before)

    run(scenario())
