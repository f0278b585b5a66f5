"""Single statements on a connection of one's own, against a real Postgres."""

from __future__ import annotations

import asyncio

import pytest

from runtime.host.ports import LogUnavailable
from runtime.postgres.session import Session
from tests.support.patience import PATIENCE_S
from tests.support.system import System, run, until

SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"


def test_given_a_session_in_use_when_it_is_closed_then_its_user_is_told_and_others_are_left_alone(
    system: System,
) -> None:
    """As when a pod ends while something in the background reads: uvloop aborts a process whose watched socket goes."""

    async def scenario() -> None:
        using, other = [Session(system.postgres_url, 60.0, role=None) for _ in range(2)]
        waiting = asyncio.ensure_future(using.run("SELECT pg_sleep(60)"))
        await until(lambda: system.sql(SLEEPING) == [(1,)])
        await using.close()
        assert await other.run("SELECT 1") == [(1,)]
        with pytest.raises(LogUnavailable):
            await asyncio.wait_for(waiting, PATIENCE_S)
        await other.close()

    run(scenario())
