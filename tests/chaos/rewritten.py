"""What a restored backup may have changed, command by command: the log that gave an answer may be gone.

An actor that only gets additions from outside comes to the very same: nothing may differ. Any other has its commands
again as well, each once, but beside timers, retries and messages of others that come at other places.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable

from tests.chaos.evidence import Evidence
from tests.chaos.log import Event
from tests.chaos.record import Entry, Look, Outcome

PLAIN = ("add",)
"""What an actor may get from outside, and nothing else, to be the same whatever is restored."""


class Rewritten:
    """The commands of a run whose log may have been replaced by an older one."""

    def __init__(self, evidence: Evidence) -> None:
        self._allowed = evidence.allowed
        self._inbox = evidence.log.inbox
        self._mixed = {entry.actor for entry in evidence.record.entries if entry.method not in PLAIN}
        self._mixed |= {entry.target for entry in evidence.record.entries if entry.target}

    def answer_may_differ(self, entry: Entry) -> bool:
        """Whether value and sequence of the log may be others than those of the answer."""
        return self._may_differ(entry.actor, entry.sent_at + entry.waited_s)

    def look_may_differ(self, look: Look) -> bool:
        """Whether the log may fold to another state than the one that was told."""
        return self._may_differ(look.actor, look.at)

    def ran_again(self, entry: Entry) -> bool:
        """Whether the command may have been done by a log that was replaced, beside this one."""
        begun, ended = entry.sent_at, entry.sent_at + entry.waited_s
        return entry.actor in self._mixed and any(
            begin <= ended and begun <= end for begin, end in self._allowed.restored
        )

    def outcome(self, entry: Entry) -> Outcome:
        """What came of it by the log, which decides: a transfer depends on what came before it."""
        kept = self._inbox.get((entry.actor, entry.id))
        if kept is None or entry.method != "forward" or not self.answer_may_differ(entry):
            return entry.outcome
        return "rejected" if kept[1] else "done"

    def strays(self, entries: Iterable[Entry], caused: dict[tuple[str, str], list[Event]]) -> Counter[str]:
        """tenant → what arrived from transfers that a log accepted which is gone, and that this one refused."""
        found: Counter[str] = Counter()
        for entry in entries:
            if self.is_stray(entry):
                tenant = entry.actor.split("/")[0]
                found[tenant] += sum(event.amount for event in caused.get((tenant, entry.id), []))
        return found

    def is_stray(self, entry: Entry) -> bool:
        """Whether the log refused a transfer whose message may be on its way all the same."""
        return entry.method == "forward" and self.outcome(entry) == "rejected" and self.ran_again(entry)

    def told(self, evidence: Evidence) -> Told:
        """What callers had been told that is in the log for certain."""
        return Told(self, evidence)

    def _may_differ(self, actor: str, answered_at: float) -> bool:
        return actor in self._mixed and self._allowed.answer_may_differ(answered_at)


class Told:
    """actor → when its callers were told which sequence, without what may be of a log that is gone."""

    def __init__(self, rewritten: Rewritten, evidence: Evidence) -> None:
        found: dict[str, list[tuple[float, int]]] = defaultdict(list)
        gone = evidence.allowed.answer_may_differ
        for entry in evidence.record.entries:
            at = entry.sent_at + entry.waited_s
            if entry.outcome in ("done", "rejected") and not gone(at):
                found[entry.actor].append((at, entry.seq))
        for look in evidence.record.looks:
            if not gone(look.at):
                found[look.actor].append((look.at, look.seq))
        self._times: dict[str, list[float]] = {}
        self._most: dict[str, list[int]] = {}
        for actor, answers in found.items():
            answers.sort()
            self._times[actor] = [at for at, _ in answers]
            most, highest = [], 0
            for _, seq in answers:
                highest = max(highest, seq)
                most.append(highest)
            self._most[actor] = most

    def before(self, actor: str, at: float) -> int:
        """The highest sequence that anybody had been told at that time."""
        place = bisect_right(self._times.get(actor, []), at)
        return self._most[actor][place - 1] if place else 0


def caused_by(evidence: Evidence) -> dict[tuple[str, str], list[Event]]:
    """(tenant, command id) → the events that it caused elsewhere, or later."""
    caused: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for actor, events in evidence.log.events.items():
        for event in events:
            if event.causation_id is not None:
                caused[actor.split("/")[0], event.causation_id].append(event)
    return caused
