"""What a batch is made of: commands, and the engine's own occasions for a turn."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from runtime.host.command import Command
from runtime.host.ports import PendingRow
from runtime.journal import Entry
from schemas.address import Address

if TYPE_CHECKING:
    from runtime.host.lane import Lane
    from runtime.kind import Decided, Kind
    from runtime.turn import Turn


@dataclasses.dataclass(slots=True, eq=False)
class Next:
    """An actor's oldest pending command may go on, and with `alone` no other.

    `doomed`, here and below: why the log does not take what comes of it; it is parked instead.
    """

    lane: Lane
    actor: str
    kind: str
    alone: bool = False
    doomed: str = ""


@dataclasses.dataclass(slots=True, eq=False)
class Rerun:
    """A command that does not hold its key runs again: its owner died, or what it waited for is there.

    `row` says which one; its row is looked up again.
    """

    lane: Lane
    row: PendingRow
    doomed: str = ""


@dataclasses.dataclass(slots=True, eq=False)
class Expire:
    """A run may have waited, or gone on, for longer than the time-outs that came with it."""

    lane: Lane
    actor: str
    address: Address
    command_id: str
    doomed: str = ""


class HandedOver(Exception):
    """The execution was stopped because its lane goes to another pod, which starts it again; no attempt is lost."""


@dataclasses.dataclass(slots=True, eq=False)
class Finished:
    """An execution ended: with what it decided, or with an error."""

    lane: Lane
    command: Command
    holds: bool
    turn: Turn
    decided: Decided | None
    error: BaseException | None
    doomed: str = ""


class Promise(Protocol):
    """Somebody who waits, as an asyncio.Future is one."""

    def done(self) -> bool:
        """Whether it is answered."""

    def set_result(self, result: Any, /) -> None:
        """Answers."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Answers with an error."""

    def cancel(self) -> object:
        """Says that there will be no answer."""


@dataclasses.dataclass(slots=True, eq=False)
class Step:
    """An execution has completed a step, or with no `entry`, is about to take one: then only the fence is asked.

    With `copied` it is about to begin with these events (type, payload) of another run, see runtime.host.forks.
    `answered` is resolved after the commit, and cancelled when the lane is another pod's.
    """

    lane: Lane
    command: Command
    entry: Entry | None
    answered: Promise
    doomed: str = ""
    copied: Sequence[tuple[str, str]] = ()


@dataclasses.dataclass(slots=True, eq=False)
class Touch:
    """Somebody wants an actor's committed state; `answered` gets (state, seq) or the exception."""

    lane: Lane
    actor: str
    address: Address
    answered: asyncio.Future[tuple[Any, int]]


@dataclasses.dataclass(slots=True, eq=False)
class Sent:
    """The broker has acknowledged the lane's outbox up to `ord`."""

    lane: Lane
    ord: int


@dataclasses.dataclass(slots=True, eq=False)
class Anchor:
    """The lane holds no more messages up to this one: its checkpoint moves there, so that the stream can be trimmed."""

    lane: Lane
    seq: int
    at: int
    taken: int


@dataclasses.dataclass(slots=True, eq=False)
class Order:
    """A person's order for an actor; `answered` gets a JSON value or the exception.

    pause, resume and skip act on the key; replay and drop act on a dead letter; delete takes away all that the actor
    is, with `force` also what it works at.
    """

    lane: Lane
    actor: str
    address: Address
    what: Literal["pause", "resume", "skip", "replay", "drop", "delete"]
    by: str | None
    reason: str
    answered: asyncio.Future[Any]
    dead_letter: int = 0
    command: Command | None = None
    force: bool = False


Item = Command | Next | Rerun | Expire | Finished | Step | Touch | Sent | Anchor | Order


@dataclasses.dataclass(slots=True, eq=False)
class Start:
    """An execution to start once the batch is committed. `known`: it was accepted before, and may have run."""

    command: Command
    kind: Kind
    payload: Any
    turn: Turn
    state: Any
    attempt: int
    holds: bool
    isolated: bool
    known: bool
    origins: Sequence[tuple[str, str]] = ()
    """(actor, command id) of the runs whose answers it may use, see runtime.host.forks."""
    begun: bool = False
    """Whether it is a workflow's run that has begun before: it may have asked for more than its journal says."""


def name_of(item: Item) -> str:
    """What an item is, for logs and errors."""
    match item:
        case Finished():
            name = f"the end of {item.command}"
        case Step():
            name = f"a step of {item.command}"
        case Rerun():
            name = f"{Address(*item.row[3:6])}.{item.row.method} (command {item.row.command_id})"
        case Next():
            name = f"the oldest pending command of {item.kind} {item.actor}"
        case Expire():
            name = f"the time-out of run {item.command_id!r} of {item.address}"
        case Touch():
            name = f"a read of {item.address}"
        case Order():
            name = f"the order to {item.what} {item.address}"
        case Sent() | Anchor():
            name = f"the {type(item).__name__} mark of lane {item.lane.lane}"
        case _:
            name = str(item)
    return name
