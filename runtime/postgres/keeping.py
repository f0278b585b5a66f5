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
VACUUM_SHARE = 0.05
"""The inbox is vacuumed once so large a share of it was deleted, or VACUUM_ROWS, whichever is more."""

VACUUM_ROWS = 2000
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
        self._deleted = 0
        self._server_since: datetime.datetime | None = None
        self._was_restarted = False

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
        self._deleted += deleted
        return deleted == INBOX_PAGE

    async def vacuum_inbox(self) -> bool:
        """See the port."""
        kept, since = (await self._session.run(query("answers_kept")))[0]
        if self._server_since not in (None, since):
            # A crash loses which pages of the indexes are free. Until a vacuum that has something to delete finds them
            # again, the indexes grow with each answer.
            self._was_restarted, self._deleted = True, 0
        self._server_since = since
        if self._deleted < (1 if self._was_restarted else max(VACUUM_ROWS, VACUUM_SHARE * kept)):
            return False
        self._deleted = 0
        await self._vacuuming.run(query("vacuum_inbox"))
        self._was_restarted = False
        return True

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
