"""The verdict: the log by itself, and the log against what the load was told."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping

import msgspec

from tests.chaos.log import Event, Log
from tests.chaos.record import Entry, Record

Finding = tuple[str, str]
"""(key, what is wrong with it)."""


@dataclasses.dataclass(slots=True)
class Verdict:
    """What is wrong, by the four words of the last line. All empty: the run held."""

    lost: list[Finding] = dataclasses.field(default_factory=list)
    duplicated: list[Finding] = dataclasses.field(default_factory=list)
    reordered: list[Finding] = dataclasses.field(default_factory=list)
    stuck: list[Finding] = dataclasses.field(default_factory=list)
    acknowledged: int = 0

    @property
    def findings(self) -> dict[str, list[Finding]]:
        """The findings by their word."""
        return {
            "lost": self.lost, "duplicated": self.duplicated, "reordered": self.reordered, "stuck": self.stuck
        }  # fmt: skip

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.findings.values())


def verify(log: Log, record: Record, stored: Mapping[str, Mapping[str, int]], values: Mapping[str, int]) -> Verdict:
    """Compares everything with everything.

    Args:
        stored: key → command id → its first sequence in the stream.
        values: what the actors answered when they were asked for their value at the end.
    """
    verdict = Verdict()
    check_log(log, stored, verdict)
    check_state(log, values, verdict)
    check_record(log, record, verdict)
    verdict.stuck += log.left
    return verdict


def check_log(log: Log, stored: Mapping[str, Mapping[str, int]], verdict: Verdict) -> None:
    """Sequences and positions without gaps, epochs that never go back, and the broker's order within each key."""
    lanes: dict[int, list[Event]] = defaultdict(list)
    for key, events in log.events.items():
        places = stored.get(key, {})
        before: Event | None = None
        last_stored = 0
        for number, event in enumerate(events, 1):
            lanes[event.lane].append(event)
            if event.seq != number:
                verdict.lost.append((key, f"event {event.seq} stands where {number} should"))
                break
            if before is not None and event.epoch < before.epoch:
                found = f"event {event.seq} of epoch {event.epoch} follows one of epoch {before.epoch}"
                verdict.reordered.append((key, found))
            before = event
            place = places.get(event.command_id, 0)
            if place and place < last_stored:
                found = f"command {event.command_id} was stored at {place} and follows one stored at {last_stored}"
                verdict.reordered.append((key, found))
            last_stored = max(last_stored, place)
    for lane, events in lanes.items():
        events.sort(key=lambda event: event.position)
        epoch = 0
        for number, event in enumerate(events, 1):
            if event.position != number:
                verdict.lost.append((event.key, f"lane {lane}: position {event.position} stands where {number} should"))
                break
            if event.epoch < epoch:
                found = f"lane {lane}: epoch {event.epoch} after {epoch} at position {event.position}"
                verdict.reordered.append((event.key, found))
            epoch = max(epoch, event.epoch)


def check_state(log: Log, values: Mapping[str, int], verdict: Verdict) -> None:
    """The state in memory, and each snapshot, equals the fold of the log."""
    for key, events in log.events.items():
        total = sum(event.amount for event in events)
        if key not in values:
            verdict.stuck.append((key, "the actor did not answer when it was asked for its value"))
        elif values[key] != total:
            verdict.lost.append((key, f"the actor says {values[key]}, and its log folds to {total}"))
        if key in log.snapshots:
            seq, value = log.snapshots[key]
            folded = sum(event.amount for event in events[:seq])
            if value != folded:
                verdict.lost.append((key, f"the snapshot at {seq} says {value}, and the log folds to {folded}"))


def check_record(log: Log, record: Record, verdict: Verdict) -> None:
    """Each command that was answered was counted once, and nothing was counted that nobody asked for."""
    verdict.reordered += record.misordered
    own: dict[tuple[str, str], list[Event]] = defaultdict(list)
    caused: dict[str, list[Event]] = defaultdict(list)
    for events in log.events.values():
        for event in events:
            own[event.key, event.command_id].append(event)
            if event.causation_id is not None:
                caused[event.causation_id].append(event)
    explained: Counter[tuple[str, int]] = Counter()
    for entry in record.entries:
        mine = own.get((entry.key, entry.id), [])
        followed = caused.get(entry.id, [])
        explained.update((event.key, event.seq) for event in (*mine, *followed))
        if entry.outcome in ("stuck", "failed"):
            verdict.stuck.append((entry.key, f"command {entry.id} {entry.method}: {entry.outcome}: {entry.error}"))
        else:
            verdict.acknowledged += 1
            _check_entry(log, entry, mine, followed, verdict)
    for key, events in log.events.items():
        for event in events:
            if explained[key, event.seq] != 1:
                found = f"event {event.seq} of command {event.command_id} has {explained[key, event.seq]} causes"
                verdict.duplicated.append((key, found))


def _check_entry(log: Log, entry: Entry, mine: list[Event], followed: list[Event], verdict: Verdict) -> None:
    """One command that was answered: its inbox entry, its events, and what followed from it."""
    name = f"command {entry.id}"
    kept = log.inbox.get((entry.key, entry.id))
    if kept is None:
        # An actor without events has no row of its own; only rejections and timers leave it like that.
        if entry.method not in ("forward", "add_later") or entry.key in log.events:
            verdict.lost.append((entry.key, f"{name} was answered and has no inbox entry"))
    elif not kept[1] and msgspec.json.decode(kept[2]) != entry.value:
        verdict.lost.append((entry.key, f"{name} was answered with {entry.value}, and the inbox says {kept[2]}"))
    if entry.again is not None and entry.outcome == "done" and entry.again != (entry.value, entry.seq):
        found = f"{name} was answered with {(entry.value, entry.seq)}, and asked again with {entry.again}"
        verdict.duplicated.append((entry.key, found))
    done = entry.outcome == "done"
    sign = -1 if entry.method == "forward" else 1
    expected = [] if not done or entry.method == "add_later" else [sign * entry.amount]
    _compare(entry.key, f"{name} ({entry.method})", expected, mine, verdict)
    if expected and len(mine) == 1 and mine[0].seq != entry.seq:
        found = f"{name} was answered with seq {entry.seq}, and its event has {mine[0].seq}"
        verdict.reordered.append((entry.key, found))
    later = [entry.amount] if done and entry.method in ("forward", "add_later") else []
    _compare(entry.target or entry.key, f"what follows from {name} ({entry.method})", later, followed, verdict)


def _compare(key: str, name: str, expected: list[int], found: list[Event], verdict: Verdict) -> None:
    amounts = [event.amount for event in found]
    if amounts == expected and all(event.key == key for event in found):
        return
    seqs = ", ".join(f"{event.key}:{event.seq}" for event in found)
    text = f"{name} should have counted {expected}, and counted {amounts} ({seqs})"
    (verdict.duplicated if len(found) > len(expected) else verdict.lost).append((key, text))
