"""Loading outside a commit what is too long to load inside, and writing snapshots.

A snapshot may be written by anybody at any time: events never change, so the state at a sequence is what it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from runtime.errors import UnreadableEvent, UnreadableSegment
from runtime.host.items import Touch
from runtime.host.lane import Activation, Lane
from runtime.host.plan import Work
from runtime.host.ports import LogUnavailable
from runtime.host.reading import FoldSource, SnapshotRow, Snapshots
from runtime.host.tasks import Tasks
from runtime.kind import Kind, StoredEvent, this_life
from schemas.address import Address

_log = logging.getLogger("troupe.loading")

RETRY_S = 0.2


class Loader:
    """Folds long logs page by page, then lets the actor's commands go on.

    `loaded` gets the lane, the actor and its activation, which may say why its log cannot be folded; it gives the
    activation that is in memory then, which may be a newer one.
    """

    def __init__(
        self,
        reader: FoldSource,
        snapshots: Snapshots,
        loaded: Callable[[Lane, str, Activation], Activation],
        monotonic: Callable[[], float],
        background: Tasks,
    ) -> None:
        self._reader = reader
        self._snapshots = snapshots
        self._loaded = loaded
        self._monotonic = monotonic
        self._background = background
        self._tasks: dict[tuple[Lane, str], asyncio.Task[None]] = {}
        self._touches: dict[tuple[Lane, str], list[Touch]] = {}

    def load(self, work: Work) -> None:
        """Starts loading an actor, if it is not being loaded.

        A load for a lane that was lost wakes nobody when it ends, so the same lane taken again has a load of its own.
        """
        place = (work.lane, work.actor)
        if place not in self._tasks:
            task = self._background.start(self._load(work), f"loading {work.address}")
            self._tasks[place] = task
            task.add_done_callback(lambda _: self._ended(place))

    def wait(self, touch: Touch) -> None:
        """Answers a read when its actor, which is being loaded, has been: by then it may be passivated again."""
        self._touches.setdefault((touch.lane, touch.actor), []).append(touch)

    def _ended(self, place: tuple[Lane, str]) -> None:
        del self._tasks[place]
        for touch in self._touches.pop(place, ()):
            if not touch.answered.done():
                text = f"{touch.address} could not be loaded: ask again"
                touch.answered.set_exception(LogUnavailable(text))

    async def _load(self, work: Work) -> None:
        while work.lane.alive:
            try:
                state, seq, problem = await fold_log(
                    self._reader, self._snapshots, work.kind, work.actor, work.lane.partition
                )
                break
            except LogUnavailable as error:
                _log.warning("loading %s waits: %s", work.address, error)
                await asyncio.sleep(RETRY_S)
        else:
            return
        unreadable = None
        if problem is None:
            await self._save(work, seq, state)
        else:
            unreadable = UnreadableEvent(f"{work.address}: {problem}")
            _log.error("%s", unreadable)
        activation = Activation(work.lane, work.address, seq, state, seq, self._monotonic(), unreadable)
        if not work.lane.alive:
            return
        now = self._loaded(work.lane, work.actor, activation)
        for touch in self._touches.pop((work.lane, work.actor), ()):
            if touch.answered.done():
                continue
            if now.unreadable is None:
                touch.answered.set_result((now.state, now.seq))
            else:
                touch.answered.set_exception(now.unreadable)

    async def _save(self, work: Work, seq: int, state: object) -> None:
        if work.kind.behaviour.snapshot_every:
            row = _row(work.actor, work.address, seq, work.kind, state)
            if row is None:
                return
            try:
                await self._snapshots.save([row])
            except LogUnavailable as error:
                _log.warning("no snapshot of %s was written: %s", work.address, error)


async def fold_log(
    reader: FoldSource, snapshots: Snapshots, kind: Kind, actor: str, partition: int
) -> tuple[object, int, str | None]:
    """(state, seq, why it cannot be folded) of an actor, from its snapshot and its events. Raises LogUnavailable."""
    state, seq, problem = kind.initial(), 0, None
    saved = await snapshots.find(actor, kind.fold_version)
    if saved is not None:
        saved_state, unusable = await asyncio.to_thread(_tried, kind.decode_state, saved[1].encode())
        if unusable is None:
            state, seq = saved_state, saved[0]
        else:
            _log.warning("the snapshot of %s %s cannot be read, so its log is: %s", kind.name, actor, unusable)
    try:
        async for page in reader.stored(actor, partition, seq):
            if problem is None:
                state, problem = await asyncio.to_thread(_tried, _folded, kind, state, page)
            seq = page[-1].seq
    except UnreadableSegment as error:
        # Its newest event must be known all the same: nothing may be written in the place of what cannot be read.
        return state, await reader.last_seq(actor, partition), str(error)
    return state, seq, problem


def _folded(kind: Kind, state: object, page: Sequence[StoredEvent]) -> object:
    return kind.fold(*this_life(kind, state, page))


def _tried(job: Callable[..., object], *arguments: object) -> tuple[object, str | None]:
    """(what the job gives, None), or (None, what it raised): a fold is the user's code."""
    try:
        return job(*arguments), None
    except UnreadableEvent as error:
        return None, str(error)
    except BaseException as error:
        return None, f"the fold failed on its log: {error!r}"


def _row(actor: str, address: Address, seq: int, kind: Kind, state: object) -> SnapshotRow | None:
    """The snapshot of a state, or None when the state has no JSON form: its log still has."""
    try:
        return SnapshotRow.of(actor, address.tenant, seq, kind, state)
    except Exception as error:
        _log.warning("no snapshot of %s can be made: its state has no JSON form: %r", address, error)
        return None


class Snapshotter:
    """Writes the snapshots that commits ask for, many in one statement, off the hot path."""

    def __init__(self, snapshots: Snapshots, kinds: Mapping[str, Kind]) -> None:
        self._snapshots = snapshots
        self._kinds = kinds
        self._due: dict[str, Activation] = {}
        self._wake = asyncio.Event()

    def due(self, actor: str, activation: Activation) -> None:
        """An actor has moved far enough from its last snapshot."""
        self._due[actor] = activation
        self._wake.set()

    def clear(self) -> None:
        """Nothing in memory is believed any more: what was due may be of a log that an older copy has replaced."""
        self._due.clear()
        self._snapshots.forget()

    async def run(self) -> None:
        """Writes snapshots, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._due = self._due, {}
            # State and sequence are read together here, on the loop, where commits change them together.
            found = [
                _row(actor, active.address, active.seq, self._kinds[active.address.kind], active.state)
                for actor, active in batch.items()
            ]
            rows = [row for row in found if row is not None]
            if not rows:
                continue
            try:
                await self._snapshots.save(rows)
            except LogUnavailable as error:
                _log.warning("%d snapshots were not written: %s", len(rows), error)
                continue
            for row in rows:
                batch[row.actor].saved_seq = max(batch[row.actor].saved_seq, row.seq)
