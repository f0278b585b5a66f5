"""Deleted actors by the log: of what was before its deletion nothing is left, and nothing of it comes again.

A deletion is an order, and no command in the stream: of one that nobody answered nobody knows whether it was done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from schemas.wire import Failure
from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.log import Event
from tests.chaos.record import DELETE, Entry

DELETED = "troupe.deleted"


def began_at(events: list[Event]) -> int:
    """The sequence of the first event that an actor must have."""
    return events[0].seq if events and events[0].type == DELETED else 1


def erased(logs: Iterable[list[Event]]) -> Mapping[int, int]:
    """lane → how many positions are those of events that were deleted."""
    found: dict[int, int] = defaultdict(int)
    for events in logs:
        if events:
            found[events[0].lane] += began_at(events) - 1
    return found


class Lives:
    """The deletions of a run."""

    def __init__(self, evidence: Evidence) -> None:
        self._log = evidence.log
        self._orders: dict[str, list[Entry]] = defaultdict(list)
        for entry in evidence.record.entries:
            if entry.method == DELETE:
                self._orders[entry.actor].append(entry)

    def is_over(self, entry: Entry) -> bool:
        """Whether the entry is of a life that was ended."""
        return entry.seq < self._began(entry.actor)

    def own(self, entry: Entry) -> list[Event]:
        """The event of an order to delete, if it is the actor's last one."""
        events = self._log.events.get(entry.actor, [])
        return [event for event in events[:1] if event.type == DELETED and entry is self._orders[entry.actor][-1]]

    def check_order(self, entry: Entry, verdict: Verdict) -> None:
        """The last order of an actor against where its events begin."""
        if entry is not self._orders[entry.actor][-1]:
            return
        began, actor = self._began(entry.actor), entry.actor
        told = max((one.seq for one in self._orders[actor] if one.outcome == "done"), default=0)
        if began < told:
            verdict.lost.append((actor, f"it was deleted at {told}, and its events begin at {began}"))
        elif began > told and entry.outcome == "done":
            verdict.duplicated.append((actor, f"it was deleted at {told}, and again at {began}"))

    def check_over(self, entry: Entry, mine: list[Event], verdict: Verdict) -> None:
        """A command of a life that was ended: its id is known, and nothing else."""
        for event in mine:
            found = f"command {entry.id} was deleted with its actor, and has the event {event.seq}"
            verdict.duplicated.append((entry.actor, found))
        kept = self._log.inbox.get((entry.actor, entry.id))
        if kept is None:
            found = f"command {entry.id} was deleted with its actor, and would be done again"
            verdict.duplicated.append((entry.actor, found))
        elif not kept[1] or msgspec.json.decode(kept[2], type=Failure).code != "deleted":
            found = f"command {entry.id} was deleted with its actor, and the inbox says {kept[2]}"
            verdict.lost.append((entry.actor, found))

    def _began(self, actor: str) -> int:
        return began_at(self._log.events.get(actor, [])) if actor in self._orders else 0
