"""A turn: which tool is called with what, for how long, and what came of it."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

StopReason = Literal["completed", "timeout", "error", "cancelled"]

LATE = "$late"
MAX_TIMEOUT_S = 86_400.0


def Late(name: str) -> dict[str, str]:  # noqa: N802  # it stands where a value would
    """In place of an argument: what the agent's function of that name gives when the turn begins."""
    return {LATE: name}


class Turn(Struct, frozen=True, omit_defaults=True):
    """A call of a tool.

    Attributes:
        args, kwargs: its arguments, by place and by name; values with a JSON form.
        timeout_s: from its beginning on a pod; at most a day.
        metadata: the user's own, carried along.
    """

    tool: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    timeout_s: float = 60.0
    metadata: dict[str, Any] = {}


class Send(Struct, frozen=True):
    """What a tool gives to have a turn put on another agent's queue, once."""

    agent: str
    key: str
    turn: Turn


class Queued(Struct, frozen=True, omit_defaults=True):
    """A turn on a queue. `by` is who put it there, when that was proved, with `roles`: it is taken for them."""

    id: str
    turn: Turn
    started_at: float = 0.0
    by: str | None = None
    roles: tuple[str, ...] = ()


class Ended(Struct, frozen=True, omit_defaults=True):
    """A turn that has ended. `values` is how many it gave; times are Unix seconds."""

    id: str
    turn: Turn
    started_at: float
    ended_at: float
    stop_reason: StopReason
    values: int = 0
    error: str = ""


class Snapshot(Struct, frozen=True, omit_defaults=True):
    """What is still to do: the turn in flight, and the queue behind it."""

    agent: str
    current_turn: Turn | None = None
    queue: tuple[Turn, ...] = ()
