"""An actor's recorded events through a kind's fold: what cannot be read, and where the state differs."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from runtime.errors import UnreadableEvent
from runtime.failure import text_of
from runtime.kind import SYSTEM_EVENT_PREFIX, Kind, StoredEvent
from runtime.replaying.differences import Difference, raised_at
from runtime.replaying.recording import RecordedActor, RecordedState


def folded(kind: Kind, actor: RecordedActor) -> Difference | None:
    """The first difference between what is recorded of an actor and what this kind's fold makes of it."""
    known = actor.state
    try:
        if known is None:
            kind.encode_state(kind.fold(kind.initial(), _seen(kind, actor.events)))
            return None
        upto = [event for event in actor.events if event.seq <= known.seq]
        state = kind.encode_state(kind.fold(kind.initial(), _seen(kind, upto)))
    except Exception:  # noqa: BLE001  # whatever the user's code raises; which event it was is found one by one
        return _unreadable(kind, actor)
    if not any(event.seq == known.seq for event in actor.events) or _same(state, known.state):
        return None  # the export ends before the state that is known, or begins behind it
    return _differs(kind, actor, known, state)


def states(kind: Kind, actor: RecordedActor) -> RecordedState | None:
    """What this kind's fold makes of an actor, event by event; None when it cannot."""
    tenant, name, key = actor.address
    state: Any = kind.initial()
    encoded, digests = kind.encode_state(state), []
    try:
        for event in actor.events:
            if seen := _seen(kind, [event]):
                state = kind.fold(state, seen)
                encoded = kind.encode_state(state)
            digests.append(_digest(encoded))
    except Exception:  # noqa: BLE001  # of the user's code; comparing with it tells more
        return None
    return RecordedState(
        tenant=tenant, kind=name, key=key, seq=actor.last_seq, state=msgspec.Raw(encoded), digests=digests
    )


def _seen(kind: Kind, events: list[StoredEvent]) -> list[StoredEvent]:
    """Those that the kind's fold sees."""
    return [
        event
        for event in events
        if not event.type.startswith(SYSTEM_EVENT_PREFIX)
        or event.type.removeprefix(SYSTEM_EVENT_PREFIX) in kind.watches
    ]


def _unreadable(kind: Kind, actor: RecordedActor) -> Difference | None:
    state = kind.initial()
    for event in _seen(kind, actor.events):
        try:
            state = kind.fold(state, [event])
            kind.encode_state(state)
        except Exception as error:  # noqa: BLE001  # as above
            tenant, name, key = actor.address
            text = str(error) if isinstance(error, UnreadableEvent) else text_of(error)
            return Difference(
                tenant=tenant, kind=name, key=key, what="unreadable", seq=event.seq, event=event.type,
                old=_plain(event.payload), at=raised_at(error),
                text=f"event {event.seq}, {event.type} (version {event.version}), cannot be folded: {text}",
            )  # fmt: skip
    return None


def _differs(kind: Kind, actor: RecordedActor, known: RecordedState, state: bytes) -> Difference:
    """Where the states part, if that is known; else at the end."""
    tenant, name, key = actor.address
    at = next(event for event in actor.events if event.seq == known.seq)
    where = f"after event {known.seq}"
    if len(known.digests) == len(actor.events):
        state_so_far: Any = kind.initial()
        for event, digest in zip(actor.events, known.digests, strict=False):
            if seen := _seen(kind, [event]):
                state_so_far = kind.fold(state_so_far, seen)
            if _digest(kind.encode_state(state_so_far)) != digest:
                at, where = event, f"from event {event.seq}, {event.type}, on"
                break
    return Difference(
        tenant=tenant, kind=name, key=key, what="state", seq=at.seq, event=at.type,
        old=_plain(known.state), new=_plain(state),
        text=f"the state is another one {where}",
    )  # fmt: skip


def _same(one: bytes, other: bytes | msgspec.Raw) -> bool:
    return one == bytes(other) or _plain(one) == _plain(other)


def _plain(payload: bytes | str | msgspec.Raw) -> Any:
    return msgspec.json.decode(payload)


def _digest(encoded: bytes) -> str:
    """The same for the same value, however its keys are ordered."""
    return f"{zlib.crc32(msgspec.json.encode(_plain(encoded), order='sorted')):08x}"
