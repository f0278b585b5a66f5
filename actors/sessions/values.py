"""Values beside the messages: of a session, of the run that is at work, of a user, of an application.

    await client.ask(session, "s1", "set_state", {"name": "theme", "value": "dark", "scope": "user"})

Those of users and applications are actors of their own (kind `scope`), whom all their sessions share.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from actors.sessions.session import Session, StateSet, session
from runtime import Rejected, Turn, entity

SCOPE = "scope"
MAX_STATE_BYTES = 65_536

Values = dict[str, msgspec.Raw]


class ValueChanged(Struct, frozen=True):
    """A value of a user or an application; `null` takes it away."""

    name: str
    value: msgspec.Raw


class Scoped(Struct, frozen=True, omit_defaults=True):
    """The values of a user or an application, by name."""

    values: Values = {}


def apply(state: Scoped, event: ValueChanged) -> Scoped:
    """The fold."""
    rest = {one: kept for one, kept in state.values.items() if one != event.name}
    return Scoped(rest if bytes(event.value) == b"null" else rest | {event.name: event.value})


scope = entity(SCOPE, initial=Scoped(), apply=apply, version="1")


@scope.command(name="set")
def set_value(state: Scoped, ctx: Turn, name: str, value: Any) -> ValueChanged | None:
    """Sets a value, anything with a JSON form; None takes it away."""
    encoded = _fitting(state.values, name, value, f"{ctx.address.kind} {ctx.key}")
    return None if encoded is None else ValueChanged(name, encoded)


@scope.query(name="values")
def scope_values(state: Scoped) -> Values:
    """All values, by name."""
    return state.values


@session.command
def set_state(
    state: Session, ctx: Turn, name: str, value: Any, scope: Literal["session", "temp", "user", "app"] = "session",
    app: str = "default",
) -> StateSet | None:  # fmt: skip
    """Sets a value, anything with a JSON form; None takes it away.

    `temp` lasts as long as the run that is at work. `user` is of whoever sets it, `app` of the application of that
    name: these are kept by actors of kind `scope`, with the keys user/… and app/….
    """
    if scope in ("user", "app"):
        if scope == "user" and ctx.principal is None:
            raise Rejected("a value of a user is set by who has proved to be one: call with a token")
        owner = f"user/{ctx.principal}" if scope == "user" else f"app/{app}"
        _fitting({}, name, value, owner)
        ctx.tell(SCOPE, owner, "set", {"name": name, "value": value})
        return None
    if scope == "temp" and state.running is None:
        raise Rejected(f"nothing is at work in session {ctx.key}: a value of scope temp lasts as long as a run")
    known = state.temp if scope == "temp" else state.state
    encoded = _fitting(known, name, value, f"session {ctx.key}")
    return None if encoded is None else StateSet(name, encoded, scope == "temp")


@session.query
def values(state: Session) -> Values:
    """The session's values, and behind them, under the same name before them, those of the run that is at work."""
    return state.state | state.temp


def _fitting(known: Values, name: str, value: Any, what: str) -> msgspec.Raw | None:
    """The value as JSON; None where it is the same as before. Raises Rejected."""
    encoded = msgspec.json.encode(value)
    if not name or len(name) > 256:
        raise Rejected("a value's name has 1 to 256 characters")
    size = len(encoded) + sum(len(kept) for one, kept in known.items() if one != name)
    if size > MAX_STATE_BYTES:
        raise Rejected(f"the values of {what} would have {size} bytes: {MAX_STATE_BYTES} is the limit")
    return None if bytes(known.get(name, msgspec.Raw(b"null"))) == encoded else msgspec.Raw(encoded)
