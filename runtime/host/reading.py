"""What a pod reads of the log beside its commits, and what it has done to groups. The adapters are runtime/postgres/.

Everything raises LogUnavailable when the log does not answer.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

from runtime.host.listing import RunFilter, Wanted
from runtime.host.ports import InboxEntry, PendingRow, Refusal, TimerRow
from runtime.kind import Kind, StoredEvent
from schemas.wire import LogEvent


class FoldSource(Protocol):
    """The events of an actor, for folding."""

    def stored(self, actor: str, partition: int, after_seq: int) -> AsyncIterator[list[StoredEvent]]:
        """Those after a sequence, in pages that are not empty. Raises UnreadableSegment."""

    async def last_seq(self, actor: str, partition: int) -> int:
        """The sequence of the newest one; 0 when there is none."""


class SnapshotRow(NamedTuple):
    """The state of an actor at a sequence, as JSON, with the version of the fold that made it."""

    actor: str
    tenant: str
    seq: int
    fold_version: str
    state: str

    @classmethod
    def of(cls, actor: str, tenant: str, seq: int, kind: Kind, state: object) -> Self:
        """The row of a state."""
        return cls(actor, tenant, seq, kind.fold_version, kind.encode_state(state).decode())


class Snapshots(Protocol):
    """Where snapshots are kept."""

    async def save(self, rows: Sequence[SnapshotRow]) -> None:
        """Keeps snapshots; an older one never replaces a newer one of the same fold.

        Raises LogUnavailable, also when another log answers than the one before, until `forget`.
        """

    async def find(self, actor: str, fold_version: str) -> tuple[int, str] | None:
        """(seq, state as JSON) of an actor's snapshot, if one was made by this fold."""

    def forget(self) -> None:
        """Nothing is left of what was read before: the log that answers next is the right one."""

    async def close(self) -> None:
        """Closes the connection."""


class TimerSource(Protocol):
    """The timer rows of lanes; those of kinds that the pod does not serve are not its business.

    Nor are those whose command is pending: it waits for its turn, with which the row goes.
    """

    async def next_timer(self, lanes: Sequence[int]) -> float | None:
        """When the earliest timer of these lanes is due (Unix seconds), or None."""

    async def due_timers(self, lanes: Sequence[int], now: float, limit: int) -> list[TimerRow]:
        """Timers due by `now` and by the log's own clock, earliest first."""

    async def waiting(self, lanes: Sequence[int], until: float) -> tuple[list[PendingRow], float | None]:
        """Pending commands of lanes that go on at a time up to `until`, and when the first one behind that does.

        Without what came with them (headers, body) and what became of them.
        """

    async def close(self) -> None:
        """Closes the connection."""


Row = dict[str, Any]


class LogReader(FoldSource, Protocol):
    """Reading the log; see runtime.postgres.reading.PostgresReader for what each gives."""

    async def actor(
        self, actor: str, lane: int, from_seq: int = 1, limit: int = ..., until: datetime.datetime | None = None
    ) -> list[LogEvent]: ...
    async def journal(
        self, actor: str, partition: int, command_id: str, after: int = 0
    ) -> list[tuple[int, str, str]]: ...
    async def by_time(
        self,
        since: datetime.datetime,
        until: datetime.datetime,
        *,
        tenant: str | None = None,
        kind: str | None = None,
        limit: int = ...,
    ) -> list[LogEvent]: ...
    async def session(self, tenant: str, session: str, after: Mapping[str, int], limit: int) -> list[LogEvent]: ...
    async def after(
        self,
        vector: Mapping[int, int],
        limit: int = ...,
        *,
        tenant: str | None = None,
        kind: str | None = None,
        since: datetime.datetime | None = None,
        until: datetime.datetime | None = None,
    ) -> tuple[list[LogEvent], dict[int, int]]: ...
    async def inbox_entry(self, actor: str, command_id: str) -> InboxEntry | None: ...
    async def refusal(self, actor: str, command_id: str, digest: int | None) -> Refusal | None: ...
    async def pending_entry(self, actor: str, command_id: str) -> tuple[str, int, str | None, int] | None: ...
    async def describe(self, actor: str) -> Row: ...
    async def erase(self, actor: str, partition: int, seq: int) -> int: ...
    async def segments_of(self, actor: str) -> list[Row]: ...
    async def actors(self, tenant: str, kind: str | None, after: tuple[str, str], limit: int) -> list[Row]: ...
    async def dead_letters(
        self, tenant: str, kind: str | None, key: str | None, status: str | None, after: int, limit: int
    ) -> list[Row]: ...
    async def dead_letter(self, id: int, tenant: str) -> Row | None: ...
    async def drop_unserved(self, id: int, tenant: str, by: str | None) -> bool: ...
    async def runs(self, tenant: str, wanted: RunFilter, limit: int) -> list[Row]: ...
    async def run(self, tenant: str, wanted: Wanted) -> Row | None: ...
    async def partitions(self) -> list[Row]: ...
    async def pods(self) -> list[Row]: ...
    async def absent_groups(self) -> list[tuple[str, float]]: ...
    async def away(self) -> list[str]: ...
    async def capabilities(self) -> list[Any]: ...
    async def ready(self) -> bool: ...
    async def close(self) -> None: ...


class Promotion(NamedTuple):
    """What a promotion did. `replaced` is the group whose pods stand by now; None when there was none."""

    group: str
    promoted: bool
    """False when the group was the current one already."""
    replaced: str | None
    kinds: list[str]
    """The kinds whose current group it is."""


class Retirement(NamedTuple):
    """A retired group, and how much of it waits in the log for a pod that starts in it again."""

    group: str
    kinds: list[str]
    pending: int
    outbox: int
    timers: int


class Groups(Protocol):
    """The groups of pods; see runtime.postgres.groups.PostgresGroups."""

    async def groups(self) -> list[Row]: ...
    async def promote(self, group: str, *, without_kinds: bool = False) -> Promotion: ...
    async def retire(self, group: str) -> Retirement: ...
    async def close(self) -> None: ...
