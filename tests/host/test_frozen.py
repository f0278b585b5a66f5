"""A pod that stands still in the middle of a transaction: what it has locked comes free without it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.host.test_ownership import EPOCHS_INTERLEAVE, balanced, owners
from tests.support.system import System, run, until

FREEZING = "tests.host.freezing"
LOCKED = """
    SELECT (SELECT count(*) FROM partitions) - count(*)
    FROM (SELECT 1 FROM partitions FOR NO KEY UPDATE SKIP LOCKED) free
"""
OPEN_TRANSACTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle in transaction' AND application_name = 'troupe'
"""


LEASE_S = 2.0


def may_be_over(mark: Path) -> bool:
    """Whether the server may have ended the transaction in which the file was made, as a slow test finds it."""
    return time.time() > mark.stat().st_mtime + LEASE_S - 0.5


def stands_still(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_given_a_pod_frozen_in_its_transaction_when_its_time_is_over_then_another_commits_to_the_same_actor(
    system: System, tmp_path: Path
) -> None:
    first = system.start_pod(FREEZING, lease_ttl_s=LEASE_S)
    mark = tmp_path / "frozen"

    async def scenario() -> None:
        async with system.client() as client:
            assert await client.ask("freezer", "b", "add") == 1  # "a" is not in memory: its batch reads before its turn
            freezing = asyncio.ensure_future(client.ask("freezer", "a", "freeze", {"mark": str(mark)}, timeout_s=60))
            await until(mark.exists)
            await until(lambda: stands_still(first.pid))
            assert system.sql(OPEN_TRANSACTIONS) == [(1,)] or may_be_over(mark)
            assert system.sql(LOCKED) == [(1,)] or may_be_over(mark), "the lane of the frozen batch"
            second = await asyncio.to_thread(system.start_pod, FREEZING)
            assert await freezing == 1
            assert await client.ask("freezer", "a", "add", timeout_s=60) == 2
            assert stands_still(first.pid)
            await until(lambda: owners(system) == {second.name: system.partitions})
            assert system.sql(OPEN_TRANSACTIONS) == [(0,)]
            first.wake()
            await balanced(system, [first, second])
            assert await client.ask("freezer", "a", "add", timeout_s=60) == 3

    run(scenario())
    assert first.process.poll() is None, "the woken pod should live on"
    events = system.sql("SELECT seq, payload->>'amount' FROM log WHERE key = 'a' ORDER BY seq")
    assert events == [(n, "1") for n in (1, 2, 3)]
    assert system.sql(EPOCHS_INTERLEAVE) == [(0,)]
