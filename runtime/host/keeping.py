"""What keeping house needs of a log: how far everybody is, and what may be forgotten.

The adapter is in runtime/postgres/.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple, Protocol


class UnknownCommand(NamedTuple):
    """A command of a kind that nobody serves."""

    actor: str
    tenant: str
    kind: str
    key: str
    method: str
    command_id: str
    headers: str
    body: bytes
    digest: int


class RetiredLane(NamedTuple):
    """A kind of a retired group in one partition: its commands beyond the checkpoint are read by nobody."""

    kind: str
    partition: int
    checkpoint: int


class Needed(NamedTuple):
    """The stream is needed from the lowest checkpoint `upto` on; None when there is none.

    `at` is when the broker stored the earliest of the checkpoints' messages (Unix nanoseconds).
    """

    upto: int | None
    retired: list[RetiredLane]
    at: int | None = None


class Keeping(Protocol):
    """On a connection of its own. Everything raises LogUnavailable."""

    async def needed(self) -> Needed:
        """What trimming has to look to."""

    async def unread_kinds(self) -> list[tuple[str, int]]:
        """(kind, partition) whose commands wait: the partition's owner serves the group, but not that kind."""

    async def known_kinds(self) -> set[str]:
        """Kinds that were served once."""

    async def several_tenants(self) -> bool:
        """Whether the actors here are of more than one tenant."""

    async def park_unknown(self, command: UnknownCommand) -> None:
        """Keeps a command of a kind that nobody serves among the dead letters."""

    async def trim_inbox(self, age_s: float, oldest_message: datetime.datetime | None) -> bool:
        """Deletes a page of answers, and one of refusals; says whether there may be more of such answers.

        Those older than `age_s`, and than the oldest message that the stream still holds.
        """

    async def vacuum(self) -> list[str]:
        """Has the room of deleted rows used again, in the tables where they are many by now; gives their names.

        May take minutes.
        """

    async def trim_runs(self, age_s: float) -> bool:
        """Deletes a page of the runs that ended longer ago; one that is parked stays as long as its dead letter.

        Says whether the page was full.
        """

    async def erase(self) -> None:
        """Takes away what deleted actors have left, where that was cut off."""

    async def forget_pods(self) -> None:
        """Deletes the rows of pods that died an hour ago."""

    async def close(self) -> None:
        """Closes the connection."""
