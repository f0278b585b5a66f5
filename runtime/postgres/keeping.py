"""Housekeeping statements on Postgres."""

from __future__ import annotations

import datetime
from typing import Any, LiteralString

from runtime.host.keeping import Needed, RetiredLane, UnknownCommand
from runtime.postgres.queries import query
from runtime.postgres.session import Session
from schemas.subjects import CMD_STREAM

INBOX_PAGE = 5000
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

    async def trim_inbox(self, age_s: float, oldest_message: datetime.datetime | None) -> None:
        """Deletes a page of answers, and one of refusals.

        Those older than `age_s`, and than the oldest message that the stream still holds.
        """
        wanted: dict[str, Any] = {"age_s": age_s, "oldest_message": oldest_message, "limit": INBOX_PAGE}
        wanted["oldest_unsent"] = await self._oldest("oldest_unsent")
        await self._session.run(query("trim_inbox"), wanted)
        await self._session.run(query("trim_refused"), wanted)

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
        """Closes the connection."""
        await self._session.close()
