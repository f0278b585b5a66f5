"""What a handler sends: messages to other actors, timers, and questions whose answers it waits for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.address import Address, check_name
from schemas.wire import Capability

if TYPE_CHECKING:
    from runtime.kind import Kind

MAX_TIMER_NAME_LENGTH = 200
MAX_SENT_BYTES = 64 * 1024 * 1024
"""The largest body of a message to another actor; what no message can hold travels by the object store."""

MAX_DUE_AT = 253_402_300_799.0
"""The last second of the year 9999."""


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """For whom a command is sent: a principal that was proved, or None, and its roles."""

    principal: str | None
    roles: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A command to another actor of the same tenant, sent after the turn's commit. `body` is JSON.

    `id` is the command's own, or None for one that follows from the turn; `then` is the method of the actor that sends
    it which is told what became of it. `caller` is for whom it is, or None for the turn's own caller.
    """

    address: Address
    method: str
    body: bytes
    id: str | None = None
    then: str | None = None
    caller: Caller | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SetTimer:
    """A command to the actor itself, due at `due_at` (Unix seconds). Setting a name again replaces it."""

    name: str
    due_at: float
    method: str
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class CancelTimer:
    """Takes back the timer of that name; nothing happens when there is none."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A command whose answer an execution waits for. `id` is the same however often the execution starts anew.

    `asked` is what it is made of beside who asks, for a run that may use another one's answers (see question_id). With
    `reads` it is a query, whose answer nobody records.
    """

    address: Address
    method: str
    body: bytes
    id: str
    timeout_s: float
    asked: str = ""
    reads: bool = False


KINDS = "$kinds"
"""The method of a Question that asks nobody: which kinds there are."""

_kinds_of = msgspec.json.Decoder(tuple[Capability, ...]).decode


@functools.lru_cache(maxsize=2)
def catalogue(answer: bytes) -> tuple[Capability, ...]:
    """The kinds of an answer to KINDS; the same ones for the same answer."""
    return _kinds_of(answer)


def question_id(actor: str, command_id: str, asked: str) -> str:
    """The id of what the execution of a command asks."""
    return blake2b(f"{actor}/{command_id}/{asked}".encode(), digest_size=16).hexdigest()


Asker = Callable[[Question], Awaitable[bytes]]
"""Asks for an execution, and gives the result as JSON. Raises Rejected, CallFailed or NotConnected."""


def check_timer_name(name: str) -> None:
    """Raises ValueError for a name that no timer can have."""
    if not 0 < len(name) <= MAX_TIMER_NAME_LENGTH or "\0" in name or not is_text(name):
        raise ValueError(f"a timer's name is 1 to {MAX_TIMER_NAME_LENGTH} characters without NUL")


def is_text(text: str) -> bool:
    """Whether `text` has a UTF-8 form, which one with a lone surrogate has not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def method_and_payload(kind: Kind | str, command: Any, args: Any) -> tuple[str, str, Any]:
    """(kind name, method name, payload) of a command given as an object or by name."""
    name = kind if isinstance(kind, str) else kind.name
    if isinstance(command, str):
        return check_name(name, "kind"), check_name(command, "method"), args
    if isinstance(kind, str):
        raise TypeError(f"a command object needs the kind itself, not its name {kind!r}: pass the entity")
    if args is not None:
        raise TypeError("a command object carries its arguments: do not pass args beside it")
    return name, kind.method_for(command), command
