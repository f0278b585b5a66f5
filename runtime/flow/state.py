"""What an actor of a workflow keeps: which run it has, what that published, and what came of it; folded from the log.

The engine's own events say it: `troupe.started`, `troupe.ended`, `troupe.parked`, `troupe.replayed`, and the entries of
the journal under which the workflow published something or continued as new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar, overload

import msgspec

from runtime.arguments import json_decoder
from runtime.errors import UnreadableEvent
from runtime.kind import SYSTEM_EVENT_PREFIX, StoredEvent
from runtime.recorder import STEP, Entry
from schemas.wire import Failure

T = TypeVar("T")
D = TypeVar("D")

STARTED = "started"
ENDED = "ended"
PARKED = "parked"
REPLAYED = "replayed"
WATCHED = frozenset([STARTED, ENDED, PARKED, REPLAYED, STEP])
"""Names of the system events that this fold sees."""

PUBLISHED = "$publish "
CONTINUED = "$continued"

Status = Literal["none", "running", "completed", "failed", "parked"]


class Started(msgspec.Struct, omit_defaults=True):
    """A run begins: the command's id, its arguments as JSON, a digest of them, and the time (Unix milliseconds).

    `roles` are the principal's (the event has that), `headers` the caller's that travel.
    """

    run: str
    at: int
    digest: int
    args: msgspec.Raw = msgspec.Raw(b"null")
    roles: list[str] = []
    headers: dict[str, str] = {}


class Ended(msgspec.Struct, omit_defaults=True):
    """A run has ended: with a result, or with a failure."""

    run: str
    result: msgspec.Raw = msgspec.Raw(b"null")
    failure: Failure | None = None


class Continued(msgspec.Struct, omit_defaults=True):
    """What a run goes on with as new: its arguments, and the messages that it had not taken.

    These are the events `kept`, and all behind `heard`.
    """

    args: msgspec.Raw = msgspec.Raw(b"null")
    heard: int = 0
    kept: list[int] = []


class _Parked(msgspec.Struct):
    command_id: str
    code: str
    error: str


class _Replayed(msgspec.Struct):
    command_id: str


class RunState(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of a workflow's actor: its latest run.

    `began` is in Unix milliseconds. A run that has continued as new `generation` times goes on with `args`, and its
    journal begins behind the event `since`; of the messages those behind `heard` are its own, and those `kept`.
    """

    run: str = ""
    began: int = 0
    digest: int = 0
    status: Status = "none"
    result: msgspec.Raw = msgspec.Raw(b"null")
    failure: Failure | None = None
    published: dict[str, msgspec.Raw] = {}
    generation: int = 0
    since: int = 0
    args: msgspec.Raw = msgspec.Raw(b"null")
    heard: int = 0
    kept: list[int] = []

    @property
    def first(self) -> int:
        """Behind this event is all that the run's journal has since it continued as new; 0 for one that has not."""
        return min(self.heard, *(seq - 1 for seq in self.kept)) if self.kept else self.heard

    def has(self, seq: int, step: bool) -> bool:
        """Whether an event of the run's is one of its journal since it continued as new: an entry, or a message."""
        return seq > self.since if step else seq > self.heard or seq in self.kept


class RunView:
    """What a query of a workflow sees: the actor's latest run, as committed.

    Attributes:
        status: none (nothing was started), running, completed, failed, or parked (a dead letter that can be replayed).
        command_id: the id of the command that started it.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self.status: Status = state.status
        self.command_id = state.run

    @overload
    def get(self, name: str, default: D, *, type: type[T]) -> T | D: ...
    @overload
    def get(self, name: str, *, type: type[T]) -> T | None: ...
    @overload
    def get(self, name: str, default: Any = None, *, type: Any = Any) -> Any: ...
    def get(self, name: str, default: Any = None, *, type: Any = Any) -> Any:
        """What the run last published under that name, read as `type`, or `default`."""
        value = self._state.published.get(name)
        return default if value is None else json_decoder(type).decode(value)

    def names(self) -> list[str]:
        """The names under which the run has published something, sorted."""
        return sorted(self._state.published)

    def result(self, type: Any = Any) -> Any:
        """The result of a completed run, read as `type`; else None."""
        return json_decoder(type).decode(self._state.result) if self.status == "completed" else None

    @property
    def error(self) -> str | None:
        """Why the run failed or was parked; else None."""
        return None if self._state.failure is None else self._state.failure.message


_decode_started = msgspec.json.Decoder(Started).decode
_decode_ended = msgspec.json.Decoder(Ended).decode
_decode_parked = msgspec.json.Decoder(_Parked).decode
_decode_replayed = msgspec.json.Decoder(_Replayed).decode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_continued = msgspec.json.Decoder(Continued).decode
_replace = msgspec.structs.replace


def fold(state: RunState, events: Sequence[StoredEvent]) -> RunState:
    """The state after these events. Raises UnreadableEvent."""
    for event in events:
        name = event.type.removeprefix(SYSTEM_EVENT_PREFIX)
        if name == event.type:
            raise UnreadableEvent(f"event {event.seq} is of type {event.type!r}, which no workflow has")
        if name == STEP and '"step":"$publish ' not in event.payload and '"step":"$continued"' not in event.payload:
            continue  # nearly all of them: not worth decoding
        try:
            state = _applied(state, event.seq, name, event.payload)
        except msgspec.DecodeError as error:
            raise UnreadableEvent(f"event {event.seq}, {event.type!r}, cannot be decoded: {error}") from error
    return state


def _applied(state: RunState, seq: int, name: str, payload: str) -> RunState:
    if name == STARTED:
        started = _decode_started(payload)
        return RunState(started.run, started.at, started.digest, "running")
    if name == ENDED:
        ended = _decode_ended(payload)
        if ended.run == state.run:
            status: Status = "completed" if ended.failure is None else "failed"
            result = ended.result.copy()
            return _replace(state, status=status, result=result, failure=ended.failure, args=msgspec.Raw(b"null"))
    elif name == PARKED:
        parked = _decode_parked(payload)
        if parked.command_id == state.run:
            return _replace(state, status="parked", failure=Failure(parked.code, parked.error))
    elif name == REPLAYED:
        if _decode_replayed(payload).command_id == state.run:
            return _replace(state, status="running", failure=None)
    elif name == STEP:
        return _stepped(state, seq, _decode_entry(payload))
    return state


def _stepped(state: RunState, seq: int, entry: Entry) -> RunState:
    if entry.run != state.run:
        return state
    if entry.step == CONTINUED:
        continued = _decode_continued(entry.result)
        return _replace(
            state,
            began=entry.at,
            generation=state.generation + 1,
            since=seq,
            args=continued.args.copy(),
            heard=continued.heard,
            kept=continued.kept,
        )
    if entry.step.startswith(PUBLISHED):
        name = entry.step.removeprefix(PUBLISHED)
        return _replace(state, published={**state.published, name: entry.result.copy()})
    return state
