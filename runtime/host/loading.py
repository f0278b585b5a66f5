"""Loading outside a commit what is too long to load inside, and writing snapshots.

A snapshot may be written by anybody at any time: events never change, so the state at a sequence is what it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from runtime.errors import UnreadableEvent
from runtime.host.lane import Activation, Lane
from runtime.host.plan import Work
from runtime.host.ports import LogUnavailable
from runtime.kind import Kind, StoredEvent
from runtime.postgres.reading import PostgresReader
from runtime.postgres.snapshots import PostgresSnapshots, SnapshotRow

_log = logging.getLogger("troupe.loading")

RETRY_S = 0.2


class Loader:
    """Folds long logs page by page, then lets the actor's commands go on.

    `loaded` gets the lane, the actor and its state: (state, seq, snapshot seq), or the reason why it cannot be folded.
    """

    def __init__(
        self,
        reader: PostgresReader,
        snapshots: PostgresSnapshots,
        loaded: Callable[[Lane, str, Activation | None], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._snapshots = snapshots
        self._loaded = loaded
        self._monotonic = monotonic
        self._tasks: dict[tuple[Lane, str], asyncio.Task[None]] = {}

    def load(self, work: Work) -> None:
        """Starts loading an actor, if it is not being loaded.

        A load for a lane that was lost wakes nobody when it ends, so the same lane taken again has a load of its own.
        """
        place = (work.lane, work.actor)
        if place not in self._tasks:
            task = asyncio.ensure_future(self._load(work))
            self._tasks[place] = task
            task.add_done_callback(lambda _: self._tasks.pop(place, None))

    async def _load(self, work: Work) -> None:
        while work.lane.alive:
            try:
                state, seq = await fold_log(self._reader, self._snapshots, work.kind, work.actor, work.lane.partition)
                break
            except UnreadableEvent as error:
                _log.error("%s: %s", work.address, error)
                self._loaded(work.lane, work.actor, None)
                return
            except LogUnavailable as error:
                _log.warning("loading %s waits: %s", work.address, error)
                await asyncio.sleep(RETRY_S)
        else:
            return
        await self._save(work, seq, state)
        activation = Activation(work.lane, work.address, seq, state, seq, self._monotonic())
        self._loaded(work.lane, work.actor, activation)

    async def _save(self, work: Work, seq: int, state: object) -> None:
        if work.kind.behaviour.snapshot_every:
            try:
                await self._snapshots.save([SnapshotRow.of(work.actor, work.address.tenant, seq, work.kind, state)])
            except LogUnavailable as error:
                _log.warning("no snapshot of %s was written: %s", work.address, error)


async def fold_log(
    reader: PostgresReader, snapshots: PostgresSnapshots, kind: Kind, actor: str, partition: int
) -> tuple[object, int]:
    """(state, seq) of an actor, from its snapshot and its events. Raises UnreadableEvent or LogUnavailable."""
    state, seq = kind.initial(), 0
    saved = await snapshots.find(actor, kind.fold_version)
    if saved is not None:
        seq, state = saved[0], kind.decode_state(saved[1].encode())
    async for page in reader.stored(actor, partition, seq):
        state = await asyncio.to_thread(_fold, kind, state, page)
        seq = page[-1].seq
    return state, seq


def _fold(kind: Kind, state: object, page: Sequence[StoredEvent]) -> object:
    return kind.fold(state, page)


class Snapshotter:
    """Writes the snapshots that commits ask for, many in one statement, off the hot path."""

    def __init__(self, snapshots: PostgresSnapshots, kinds: Mapping[str, Kind]) -> None:
        self._snapshots = snapshots
        self._kinds = kinds
        self._due: dict[str, Activation] = {}
        self._wake = asyncio.Event()

    def due(self, actor: str, activation: Activation) -> None:
        """An actor has moved far enough from its last snapshot."""
        self._due[actor] = activation
        self._wake.set()

    async def run(self) -> None:
        """Writes snapshots, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._due = self._due, {}
            # State and sequence are read together here, on the loop, where commits change them together.
            rows = [
                SnapshotRow.of(actor, active.address.tenant, active.seq, self._kinds[active.address.kind], active.state)
                for actor, active in batch.items()
            ]
            try:
                await self._snapshots.save(rows)
            except LogUnavailable as error:
                _log.warning("%d snapshots were not written: %s", len(rows), error)
                continue
            for row in rows:
                batch[row.actor].saved_seq = max(batch[row.actor].saved_seq, row.seq)
