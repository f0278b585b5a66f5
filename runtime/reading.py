"""What an async query may read beside its actor's state: logs of its tenant, and the index of its own events.

Nothing of it is recorded, and nothing may be changed. An answer stands for the moment at which it was read: what is
committed by then is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from runtime.errors import BadResult, Rejected
from runtime.index import (
    CANDIDATES,
    MAX_PAGE,
    NUL,
    Hit,
    Index,
    IndexStore,
    Numbered,
    Wanted,
    fused,
    storable,
    wrong_with,
)
from runtime.kind import DELETED, SYSTEM_EVENT_PREFIX, Kind, StoredEvent
from schemas.address import Address, actor_id, encode_token, partition_of
from schemas.wire import LogEvent

PAGE = 500
"""Events that are indexed in one transaction."""

MAX_ASKED = 8192
"""Characters of a text by whose words is searched; people give whole messages."""

_DELETED = SYSTEM_EVENT_PREFIX + DELETED


class Reader(Protocol):
    """Reads one actor's log; see runtime.host.reading.LogReader."""

    async def actor(self, actor: str, lane: int, from_seq: int = 1, limit: int = ...) -> list[LogEvent]:
        """Its events from a sequence on, in order."""


class Reading:
    """What one query reads. Raises LogUnavailable when the log does not answer."""

    def __init__(
        self, address: Address, kind: Kind, seq: int, reader: Reader, store: IndexStore | None, partitions: int
    ) -> None:
        self._address = address
        self._kind = kind
        self._seq = seq
        self._reader = reader
        self._store = store
        self._partitions = partitions

    async def log(self, kind: Kind | str, key: str, from_seq: int = 1, limit: int = PAGE) -> list[LogEvent]:
        """Events of an actor of this tenant from a sequence on, in order, at most `limit` (1 to 1000)."""
        if not 0 < limit <= MAX_PAGE:
            raise Rejected(f"limit is 1 to {MAX_PAGE}")
        name = kind if isinstance(kind, str) else kind.name
        actor, partition = self._place(Address(self._address.tenant, name, key))
        return await self._reader.actor(actor, partition, from_seq, limit)

    async def search(self, wanted: Wanted) -> list[Hit]:
        """The actor's own documents: by words, by vector, or both fused. Those of all events committed by now."""
        store, actor, partition = await self._current()
        if not 0 < wanted.limit <= MAX_PAGE:
            raise Rejected(f"limit is 1 to {MAX_PAGE}")
        if (wrong := wrong_with(wanted)) is not None:
            raise Rejected(wrong)
        if not wanted.text and wanted.vector is None:
            return await store.listed(actor, partition, wanted, None)
        wanted = replace(wanted, text=wanted.text[:MAX_ASKED])
        many = max(CANDIDATES, 4 * wanted.limit)
        by_text = await store.by_text(actor, partition, wanted, many) if wanted.text else []
        by_vector = await store.by_vector(actor, partition, wanted, many) if wanted.vector is not None else []
        return fused(by_text, by_vector, wanted.limit)

    async def documents(self, ids: Sequence[str]) -> list[Hit]:
        """The actor's own documents of these ids, by id."""
        store, actor, partition = await self._current()
        ids = [id for id in ids if NUL not in id]
        return await store.listed(actor, partition, Wanted(limit=max(1, len(ids))), ids)

    @property
    def semantic(self) -> bool:
        """Whether vectors are searched by, as far as is known by now: it needs Postgres's extension `vector`."""
        return self._store is not None and self._store.semantic

    def _place(self, address: Address) -> tuple[str, int]:
        token = encode_token(address.key)
        tenant, kind, _ = address
        return actor_id(tenant, kind, token), partition_of(tenant, kind, token, self._partitions)

    async def _current(self) -> tuple[IndexStore, str, int]:
        """Has the documents follow what is in the log by now."""
        index, store = self._kind.indexed_by, self._store
        if index is None:
            raise BadResult(f"kind {self._kind.name!r} has no index: say what its documents are (@kind.index)")
        if store is None:
            raise BadResult("there is no index here: ask a pod, or a World")
        actor, partition = self._place(self._address)
        reached = await store.reached(actor, partition, index.version)
        while reached < self._seq:
            events = await self._reader.actor(actor, partition, reached + 1, PAGE)
            if not events:
                break
            anew = reached == 0 or any(event.type == _DELETED for event in events)
            upto = events[-1].seq
            changes = _changes(index, events)
            wrote = await store.write(
                self._address.tenant, actor, partition, index.version, reached, upto, changes, anew=anew
            )
            reached = upto if wrote else await store.reached(actor, partition, index.version)
        return store, actor, partition


def _changes(index: Index, events: Sequence[LogEvent]) -> list[Numbered]:
    changes: list[Numbered] = []
    for event in events:
        if event.type == _DELETED:
            changes = []
        elif not event.type.startswith(SYSTEM_EVENT_PREFIX):
            read = index.read(StoredEvent(event.seq, event.type, event.version, payload_of(event)))
            changes += [Numbered(event.seq, storable(change)) for change in index.changes(read)]
    return changes


def payload_of(event: LogEvent) -> str:
    """The JSON text of an event."""
    return bytes(event.payload).decode()
