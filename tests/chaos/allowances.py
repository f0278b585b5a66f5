"""What the faults of a run may do to the promises, exactly. Whoever checks a run asks here; nothing else is allowed.

Most faults allow nothing: whatever is killed, frozen, cut off, full or late, every command that was answered counts
once, in order, and its answer is the log's. Three may do more:

    power     What the broker stored in the seconds before it is gone (`Fault.lost` says what). A command that only the
              broker had acknowledged may have no effect: a message on its way to another actor, a `tell`. One that was
              answered is in the log as ever. Stream sequences are given again. Facts on their way to people may be
              missing from the stream EV; the log has their events.
    restore   Answers given between backup and restore stay true in their effect: it is in the log once, since the
              commands are taken from the stream again. But the log that gave them is gone: on an actor that has timers,
              messages or executions, what comes again may come in another order, so value and sequence of the log may
              differ from the answer's. Steps and effects outside may run again.
    stream    Commands are refused while it lasts (`stream_full`): their callers are told, and ask again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from schemas.subjects import EV_STREAM
from tests.chaos.faults.fault import Fault
from tests.support.blocks import Stored

COMMANDS = "p."
"""How the subjects of stored commands begin, in every stream of theirs."""

SHOWN_WHATEVER = ("kill", "term", "churn", "gateway-kill", "gateway-stop", "postgres", "disk-postgres", "clock")
"""Faults that take nothing of what runs show: that goes to the broker before its step is recorded."""

FLIGHT_S = 15.0
"""A command that was answered before a restored backup's moment was committed before it; callers hear of it this much
later at most."""


@dataclasses.dataclass(frozen=True)
class Allowances:
    """What the history of a run allows.

    Attributes:
        may_be_missing: (`tenant.kind.key` as in subjects, command id): only the broker had it, and lost it. Its first
            place in the stream is void, and if nobody had an answer it may be without effect.
        facts_may_be_missing: subjects of EV from which facts were taken.
        given_again: (first, last) sequences of EV that were taken, and are those of others now: who had come so far by
            then, in any session, never hears of these.
        shown_may_be_missing: a broker was away, or a pod's connection to it: what runs show waits for nobody.
        went_back: when the broker's sequences went back, in Unix seconds.
        restored: (from, to) in Unix seconds: answers given then may differ from the log's in value and sequence.
    """

    may_be_missing: frozenset[tuple[str, str]] = frozenset()
    facts_may_be_missing: frozenset[str] = frozenset()
    given_again: tuple[tuple[int, int], ...] = ()
    shown_may_be_missing: bool = False
    went_back: tuple[float, ...] = ()
    restored: tuple[tuple[float, float], ...] = ()

    def answer_may_differ(self, answered_at: float) -> bool:
        """Whether the log may differ in value and sequence from an answer that came then (Unix seconds)."""
        return any(begin <= answered_at <= end for begin, end in self.restored)

    def may_be_passed(self, sequence: int) -> bool:
        """Whether a reader may have been behind this sequence of EV before it was given to the fact that has it now."""
        return any(first <= sequence <= last for first, last in self.given_again)


def allowed(history: Iterable[Fault]) -> Allowances:
    """What these faults allow."""
    history = list(history)
    lost = [fault for fault in history if fault.lost]
    return Allowances(
        may_be_missing=frozenset(
            (address_of(message), message.id)
            for fault in lost
            for messages in fault.lost.values()
            for message in messages
            if message.subject.startswith(COMMANDS)
        ),
        facts_may_be_missing=frozenset(message.subject for fault in lost for message in fault.lost.get(EV_STREAM, [])),
        given_again=tuple(
            (min(taken), max(taken))
            for fault in lost
            if (taken := [message.sequence for message in fault.lost.get(EV_STREAM, [])])
        ),
        shown_may_be_missing=any(fault.kind not in SHOWN_WHATEVER for fault in history),
        went_back=tuple(fault.at for fault in history if fault.kind == "power"),
        restored=tuple((fault.since, fault.until + FLIGHT_S) for fault in history if fault.kind == "restore"),
    )


def address_of(message: Stored) -> str:
    """`tenant.kind.key`, as tokens, of a message that CMD stored as `p.<partition>.<tenant>.<kind>.<key>.<method>`."""
    return ".".join(message.subject.split(".")[2:5])
