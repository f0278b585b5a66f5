"""A pod that loses its lanes and lives: its executions start again, and that counts as nobody's death."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from tests.host.test_steps import lines
from tests.support.system import System, run, until
from tests.support.waiters import waiter

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


def begun(path: Path, times: int) -> bool:
    return len(lines(path)) >= times


def test_given_a_pod_that_loses_the_log_again_and_again_then_its_executions_are_not_parked(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(waiter), system.client() as client:
            waiting = await client.submit(waiter, "w", "linger", {"path": str(path)}, id="run")
            for number in range(1, 9):
                await until(partial(begun, path, number), 40)
                await until(lambda: system.sql("SELECT state, attempts FROM pending") == [("running", 1)])
                others = [client.ask(waiter, f"other-{number}-{n}", "put", {"value": n}) for n in range(8)]
                asking = asyncio.gather(*others)
                system.sql(CUT, system.database)  # what is committed now is lost, and every lane with it
                await asking
                if len(lines(path)) == number:  # the cut fell between two commits
                    lost = asyncio.ensure_future(client.ask(waiter, f"last-{number}", "put", {"value": 1}))
                    await until(partial(begun, path, number + 1), 40)
                    await lost
            Path(f"{path}.go").touch()
            assert await waiting.result(timeout_s=60) == "gone on"

    run(scenario())
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]
