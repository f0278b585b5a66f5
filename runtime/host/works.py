"""The actors of one batch, as it sees them: from memory, or folded from what the log gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from runtime.errors import UnreadableEvent
from runtime.host.handling import Running
from runtime.host.plan import Plan, Work
from runtime.host.ports import TAIL_LIMIT, Found
from runtime.kind import DELETED, SYSTEM_EVENT_PREFIX, Kind, this_life
from schemas.address import Address

if TYPE_CHECKING:
    from runtime.host.lane import Activation, Lane

FOLDING_S = 0.25
"""Seconds of folding in one batch after which its other actors are loaded beside the turns."""

SHORT_TAIL = 64
"""Events that are folded within the batch all the same: asking the log for them again would take longer."""


class Works:
    """Gives each actor of a batch. See Turns for the arguments."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        activations: Mapping[str, Activation],
        found: Found,
        plan: Plan,
        outside: frozenset[str] | None,
        running: Running,
    ) -> None:
        self._kinds = kinds
        self._activations = activations
        self._found = found
        self._plan = plan
        self._outside = outside
        self._running = running
        self._folding_s = 0.0

    def get(self, lane: Lane, actor: str, address: Address) -> Work:
        """The actor as this batch sees it so far."""
        work = self._plan.works.get(actor)
        if work is None:
            work = self._plan.works[actor] = self._load(lane, actor, address)
        return work

    def _load(self, lane: Lane, actor: str, address: Address) -> Work:
        kind = self._kinds[address.kind]
        work = Work(lane, actor, address, kind)
        active = self._activations.get(actor)
        if active is not None:
            work.state, work.seq, work.saved_seq = active.state, active.seq, active.saved_seq
            work.unreadable = active.unreadable
        else:
            snapshot, tail = self._found.snapshots.get(actor), self._found.tails.get(actor, [])
            tail = list(this_life(kind, None, tail)[1])
            begins = bool(tail) and tail[0].type == SYSTEM_EVENT_PREFIX + DELETED
            if begins:
                snapshot = None  # of the life before, written late
            behind = snapshot[0] if snapshot is not None else 0
            # What is missing between them is archived, or a newer snapshot was written as the two were read. An actor's
            # newest event is never archived, so there is a row to tell by.
            incomplete = bool(tail) and tail[0].seq != behind + 1 and not begins
            if incomplete or self._loads_outside(actor, len(tail)):
                work.loading = True
                return work
            self._running.loading = actor
            began = self._plan.monotonic()
            try:
                state = kind.initial()
                if snapshot is not None:
                    try:
                        state = kind.decode_state(snapshot[1].encode())
                    except Exception:  # the log says the same, and from its beginning it is loaded outside
                        work.loading, self._running.loading = True, None
                        return work
                    work.seq = work.saved_seq = snapshot[0]
                work.state = kind.fold(state, tail)
            except UnreadableEvent as error:
                work.unreadable = UnreadableEvent(f"{address}: {error}")
            except BaseException as error:
                work.unreadable = UnreadableEvent(f"{address}: the fold failed on its log: {error!r}")
            self._running.loading = None
            self._folding_s += self._plan.monotonic() - began
            if tail:
                work.seq = tail[-1].seq
        work.base_seq = work.seq
        return work

    def _loads_outside(self, actor: str, events: int) -> bool:
        """Whether an actor is loaded beside the turns: its fold may keep the batch's transaction open too long."""
        if events > TAIL_LIMIT or (events and (self._outside is None or actor in self._outside)):
            return True
        return events > SHORT_TAIL and self._folding_s > FOLDING_S
