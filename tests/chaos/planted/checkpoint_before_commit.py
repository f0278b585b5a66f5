"""Planted: the checkpoint is committed by itself, some time before what the commands up to it have done."""

from __future__ import annotations

import asyncio

from runtime.host.ports import Changes, Found, Wanted
from runtime.postgres.commit_log import PostgresCommitLog
from tests.chaos.kinds import counter, errand

__all__ = ["counter", "errand"]

BETWEEN_S = 0.05
"""So that a crash is likely to come in between."""

_begin = PostgresCommitLog.begin


async def _never(self: PostgresCommitLog, wanted: Wanted, changes: Changes) -> bool:
    return False


async def _begin_after_checkpoint(self: PostgresCommitLog, wanted: Wanted) -> Found:
    await _begin(self, wanted)
    pipeline = await self._ready()
    await pipeline.run([], end="COMMIT")
    await asyncio.sleep(BETWEEN_S)
    return await _begin(self, wanted)


PostgresCommitLog.begin = _begin_after_checkpoint  # type: ignore[method-assign]  # that is the bug
PostgresCommitLog.commit_at_once = _never  # type: ignore[method-assign]  # there all happens in one round trip
