"""The runs in a workflow's recorded events: each with its journal, and how it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import msgspec

from runtime.flow import state as states
from runtime.flow.state import CONTINUED, Continued, Ended, RunState, Started
from runtime.kind import SYSTEM_EVENT_PREFIX
from runtime.recorder import STEP, Entry
from runtime.replaying.recording import RecordedActor
from schemas.wire import LogEvent

_decode_started = msgspec.json.Decoder(Started).decode
_decode_ended = msgspec.json.Decoder(Ended).decode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_continued = msgspec.json.Decoder(Continued).decode

NOT_THE_CODES = ("terminated", "timed_out", "expired")
"""Ends that the engine made, whatever the code was about to do."""


@dataclasses.dataclass
class RecordedRun:
    """A run from its beginning, or from where it continued as new, to its end, or to where it continues as new.

    state: of its actor when it began. fact: the event with which it began, and what that says.
    places: the sequence number of each entry.
    """

    state: RunState
    args: bytes
    fact: LogEvent
    started: Started
    entries: list[Entry] = dataclasses.field(default_factory=list)
    places: list[int] = dataclasses.field(default_factory=list)
    ended: Ended | None = None
    continued: Continued | None = None
    parked: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether its code came to an end of its own."""
        if self.continued is not None:
            return True
        if self.ended is None:
            return False
        failure = self.ended.failure
        never_begun = failure is not None and failure.code == "cancelled" and not self.entries
        return not never_begun and (failure is None or failure.code not in NOT_THE_CODES)


def runs_of(actor: RecordedActor) -> Iterator[RecordedRun]:
    """The runs of a workflow's actor, in order. Raises msgspec.DecodeError for events that no workflow writes."""
    state = RunState()
    run: RecordedRun | None = None
    for event, fact in zip(actor.events, actor.facts, strict=True):
        name = event.type.removeprefix(SYSTEM_EVENT_PREFIX)
        if name in states.WATCHED:
            state = states.fold(state, [event])
        if name == states.STARTED:
            if run is not None:
                yield run
            started = _decode_started(event.payload)
            run = RecordedRun(state, bytes(started.args), fact, started)
        elif run is None or name not in states.WATCHED:
            continue
        elif name == STEP:
            entry = _decode_entry(event.payload)
            if entry.run != run.state.run:
                continue
            if entry.step == CONTINUED:
                run.continued = _decode_continued(entry.result)
                yield run
                run = RecordedRun(state, bytes(state.args), run.fact, run.started)
            else:
                run.entries.append(entry)
                run.places.append(event.seq)
        elif name == states.ENDED:
            ended = _decode_ended(event.payload)
            if ended.run == run.state.run:
                run.ended = ended
        elif name in (states.PARKED, states.REPLAYED):
            run.parked = None if state.failure is None else state.failure.message
    if run is not None:
        yield run
