"""Planted: a repeat is not looked for in the inbox, and done again."""

from __future__ import annotations

from runtime.host.ports import Found, Wanted
from runtime.postgres import queries
from runtime.postgres.commit_log import PostgresCommitLog
from tests.chaos.kinds import counter, errand

__all__ = ["counter", "errand"]

_begin = PostgresCommitLog.begin
_KEPT = "ON CONFLICT DO NOTHING"


async def _begin_without_inbox(self: PostgresCommitLog, wanted: Wanted) -> Found:
    return (await _begin(self, wanted))._replace(inbox={})


PostgresCommitLog.begin = _begin_without_inbox  # type: ignore[method-assign]  # that is the bug
queries._QUERIES["insert_inbox"] = f"{queries._QUERIES['insert_inbox']} {_KEPT}"
