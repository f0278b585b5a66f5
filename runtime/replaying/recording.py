"""A recording: events, one a line, as `runtime log export` prints them, and states that other code folded from them.

A line that says `"state"` is a state; every other one is an event (schemas.wire.LogEvent).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from runtime.errors import Misconfigured
from runtime.kind import DELETED, SYSTEM_EVENT_PREFIX, StoredEvent
from schemas.address import Address
from schemas.wire import LogEvent

TYPE_OF_STATES = "troupe.state"


class RecordedState(msgspec.Struct, kw_only=True):
    """What other code made of an actor's events up to `seq`: the state as JSON.

    `digests` are of the states behind each event, in order, when that code was asked event by event.
    """

    tenant: str
    kind: str
    key: str
    seq: int
    state: msgspec.Raw
    type: str = TYPE_OF_STATES
    digests: list[str] = []


class RecordedActor:
    """One actor's part of a recording."""

    __slots__ = ("address", "events", "facts", "state")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.events: list[StoredEvent] = []
        self.facts: list[LogEvent] = []
        self.state: RecordedState | None = None

    @property
    def last_seq(self) -> int:
        """The sequence number of the last event; 0 for none."""
        return self.events[-1].seq if self.events else 0


class _Line(msgspec.Struct):
    type: str


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_event = msgspec.json.Decoder(LogEvent).decode
_decode_state = msgspec.json.Decoder(RecordedState).decode


def actors_of(lines: Iterable[bytes], name: str) -> dict[Address, RecordedActor]:
    """The actors of a recording, which `name` names in errors.

    Raises Misconfigured for a line that is neither event nor state, and for an actor of which an event is missing.
    """
    actors: dict[Address, RecordedActor] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            is_state = _decode_line(line).type == TYPE_OF_STATES
            read: LogEvent | RecordedState = _decode_state(line) if is_state else _decode_event(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Misconfigured(
                f"{name}, line {number}, is no event ({error}): give what `runtime log export` has written"
            ) from error
        actor = _of(actors, Address(read.tenant, read.kind, read.key))
        if isinstance(read, RecordedState):
            actor.state = read
            continue
        if read.seq <= actor.last_seq:
            continue  # exported twice
        if read.type == SYSTEM_EVENT_PREFIX + DELETED:  # what was before is no part of the actor
            actor.events, actor.facts = [], []
        elif read.seq != actor.last_seq + 1:
            raise Misconfigured(
                f"{name}, line {number}: of {actor.address} event {actor.last_seq + 1} is missing before event "
                f"{read.seq}: export whole actors, without --since"
            )
        actor.facts.append(read)
        actor.events.append(StoredEvent(read.seq, read.type, read.version, bytes(read.payload).decode()))
    return actors


def _of(actors: dict[Address, RecordedActor], address: Address) -> RecordedActor:
    found = actors.get(address)
    if found is None:
        found = actors[address] = RecordedActor(address)
    return found
