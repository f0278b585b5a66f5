"""Housekeeping statements on Postgres."""

from __future__ import annotations

import datetime
from typing import Any, LiteralString

from runtime.host.keeping import Needed, RetiredLane, UnknownCommand
from runtime.postgres.erasing import erase_rest
from runtime.postgres.queries import query
from runtime.postgres.session import Session
from schemas.subjects import CMD_STREAM

INBOX_PAGE = 5000
VACUUMED: tuple[LiteralString, ...] = ("pending", "outbox", "timers", "refused", "runs", "inbox")
"""Whose rows come and go with the work; the largest is last, so that none waits for it."""

VACUUM_SHARE = 0.05
"""A table is vacuumed once so large a share of it is dead, or VACUUM_ROWS, whichever is more."""

VACUUM_ROWS = 2000
VACUUM_AGAIN_S = 30.0
"""What an old transaction still sees no vacuum takes away: it is not tried all the time."""

VACUUM_TIMEOUT_S = 3600.0
VACUUM_SETTINGS = {"vacuum_cost_delay": "2ms"}
"""As slowly as autovacuum does it, so that commits do not wait for its reading."""

SETTINGS = {
    "lock_timeout": "1s",
    # What is too old is looked for by time. The planner takes a third of the table for it, and would read all of it.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
}


class PostgresKeeping:
    """The Keeping port for one CMD stream and what one server holds, on a connection of its own."""

    def __init__(self, url: str, stream: str = CMD_STREAM) -> None:
        self._wanted = {"stream": stream}
        self._session = Session(url, 30.0, SETTINGS)
        self._vacuuming = Session(url, VACUUM_TIMEOUT_S, VACUUM_SETTINGS)

    async def needed(self) -> Needed:
        """What trimming has to look to."""
        upto, at, retired = (await self._session.run(query("needed"), self._wanted))[0]
        return Needed(upto, [RetiredLane(*lane) for lane in retired], at)

    async def unread_kinds(self) -> list[tuple[str, int]]:
        """(kind, partition) whose commands wait: the partition's owner serves the group, but not that kind."""
        return [(row[0], row[1]) for row in await self._session.run(query("unread_kinds"), self._wanted)]

    async def known_kinds(self) -> set[str]:
        """Kinds that were served once."""
        return {row[0] for row in await self._session.run(query("known_kinds"))}

    async def several_tenants(self) -> bool:
        """See the port."""
        return bool((await self._session.run(query("several_tenants")))[0][0])

    async def park_unknown(self, command: UnknownCommand) -> None:
        """Keeps a command of a kind that nobody serves among the dead letters."""
        text = f"no pod serves kind {command.kind!r}: deploy one and replay this, or drop it"
        await self._session.run(query("park_unknown"), command._asdict() | {"error": text})

    async def trim_inbox(self, age_s: float, oldest_message: datetime.datetime | None) -> bool:
        """See the port."""
        wanted: dict[str, Any] = {"age_s": age_s, "oldest_message": oldest_message, "limit": INBOX_PAGE}
        wanted["oldest_unsent"] = await self._oldest("oldest_unsent")
        deleted = int((await self._session.run(query("trim_inbox"), wanted))[0][0])
        await self._session.run(query("trim_refused"), wanted)
        return deleted == INBOX_PAGE

    async def vacuum(self) -> list[str]:
        """See the port."""
        wanted = {"tables": list(VACUUMED), "rows": VACUUM_ROWS, "share": VACUUM_SHARE, "again_s": VACUUM_AGAIN_S}
        due = {row[0] for row in await self._session.run(query("to_vacuum"), wanted)}
        tables = [table for table in VACUUMED if table in due]
        for table in tables:
            # With its indexes, however little was deleted: their free pages are found only then.
            await self._vacuuming.run(f"VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON) {table}")
        return [str(table) for table in tables]

    async def trim_runs(self, age_s: float) -> bool:
        """See the port."""
        wanted = {"age_s": age_s, "limit": INBOX_PAGE}
        return int((await self._session.run(query("trim_runs"), wanted))[0][0]) == INBOX_PAGE

    async def erase(self) -> None:
        """See the port."""
        await erase_rest(self._session)

    async def repeatable(self) -> datetime.datetime | None:
        """Since when actors of this server may repeat what they say to others: unsent messages, and executions."""
        found = [await self._oldest("oldest_unsent"), await self._oldest("oldest_running")]
        return min([moment for moment in found if moment is not None], default=None)

    async def _oldest(self, name: LiteralString) -> datetime.datetime | None:
        moment: datetime.datetime | None = (await self._session.run(query(name)))[0][0]
        return moment

    async def forget_pods(self) -> None:
        """Deletes the rows of pods that died an hour ago."""
        await self._session.run(query("forget_pods"))

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()
        await self._vacuuming.close()
