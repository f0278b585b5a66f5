"""What is said to a running execution: commands of the engine's own methods, which do not wait for the actor's key.

    cmd.<tenant>.<kind>.<key>.$signal    a Signal: the handler may wait for it with ctx.signal
    cmd.<tenant>.<kind>.<key>.$update    an Update: the same, and the handler's answer is the command's result
    cmd.<tenant>.<kind>.<key>.$cancel    a Cancel: the handler is told by asyncio.CancelledError
    cmd.<tenant>.<kind>.<key>.$terminate a Terminate: the run ends, and its handler is not asked
    cmd.<tenant>.<kind>.<key>.$start     a Start: a workflow's run begins if none goes on, and gets a signal
    cmd.<tenant>.<kind>.<key>.$complete  a Complete: what came of a step that handed out a token
    cmd.<tenant>.<kind>.<key>.$answer    an Answered: what an actor that was asked has answered; sent by outboxes

They are commands in all else: stored in CMD, deduplicated by their id, answered. `run` is the id of the command whose
handler runs.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.address import Address, BadAddress, check_name, decode_token, encode_token
from schemas.headers import is_id
from schemas.wire import Failure

SIGNAL: Final = "$signal"
UPDATE: Final = "$update"
CANCEL: Final = "$cancel"
TERMINATE: Final = "$terminate"
START: Final = "$start"
COMPLETE: Final = "$complete"
ANSWER: Final = "$answer"
METHODS: Final = frozenset([SIGNAL, UPDATE, CANCEL, TERMINATE, START, COMPLETE, ANSWER])

MAX_NAME_LENGTH: Final = 100


class Signal(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A value for the run, under a name that its handler knows."""

    run: str
    name: str
    value: Any = None


class Update(Signal, omit_defaults=True, forbid_unknown_fields=True):
    """The same; its sender waits until the handler answers."""


class Cancel(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """The run is to end."""

    run: str
    reason: str = ""


class Terminate(Cancel, omit_defaults=True, forbid_unknown_fields=True):
    """The run ends at once, without its handler. `by` says who wants it."""

    by: str = ""


class Start(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A signal for the run that goes on, or for one that begins with `args`.

    The result is `{"run", "started"}`: the id of the run's command, and whether it began with this.
    """

    name: str
    value: Any = None
    args: Any = None


class Complete(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What came of a step that handed out this token: a value, or with `error` that it failed, and why.

    The command's id is the token's own (schemas/tokens.py), so that it is used once.
    """

    run: str
    token: str
    value: Any = None
    error: str | None = None


class Answered(msgspec.Struct, omit_defaults=True):
    """The answer to a question of the run: `result` when `error` is None. `digest` is of what was asked."""

    run: str
    question: str
    digest: int
    result: Any = None
    error: Failure | None = None


class Ended(msgspec.Struct, omit_defaults=True, frozen=True):
    """What became of a command that was told with `then`: `result` when `error` is None."""

    id: str
    kind: str
    key: str
    method: str
    result: Any = None
    error: Failure | None = None


BODIES: Final[dict[str, Any]] = {
    SIGNAL: Signal,
    UPDATE: Update,
    CANCEL: Cancel,
    TERMINATE: Terminate,
    START: Start,
    COMPLETE: Complete,
    ANSWER: Answered,
}


def sender_of(address: Address) -> str:
    """The value of `Troupe-Sender` for an actor: `<kind>.<key token>`."""
    return f"{address.kind}.{encode_token(address.key)}"


def parse_sender(tenant: str, header: str) -> Address:
    """The actor of a `Troupe-Sender`, of the tenant of the command. Raises ValueError when it is none."""
    kind, _, token = header.partition(".")
    try:
        return Address(check_name(tenant, "tenant"), check_name(kind, "kind"), decode_token(token))
    except BadAddress as error:
        raise ValueError(str(error)) from error


def then_address(address: Address, method: str) -> str:
    """The value of `Troupe-Then` that has an actor's method told of the end: `<kind>.<key token>.<method>`."""
    return f"{address.kind}.{encode_token(address.key)}.{check_name(method, 'method')}"


def parse_then_address(tenant: str, header: str) -> tuple[Address, str]:
    """(actor, method) of a `Troupe-Then`, both of the tenant of the command. Raises ValueError when it is none."""
    address, method = parse_return_address(tenant, header)
    return address, check_name(method, "method")


def return_address(address: Address, run: str) -> str:
    """The value of `Troupe-Answer` that brings the answer to this run: `<kind>.<key token>.<run>`."""
    return f"{address.kind}.{encode_token(address.key)}.{run}"


def parse_return_address(tenant: str, header: str) -> tuple[Address, str]:
    """(actor, run) of a `Troupe-Answer`, both of the tenant that asks. Raises ValueError when it is none."""
    parts = header.split(".", 2)
    if len(parts) != 3 or not is_id(parts[2]):
        raise ValueError(f"{header[:80]!r} is no return address")
    try:
        # A message of any subject may carry one, also of a subject whose tenant can be none.
        return Address(check_name(tenant, "tenant"), check_name(parts[0], "kind"), decode_token(parts[1])), parts[2]
    except BadAddress as error:
        raise ValueError(str(error)) from error


def fork_header(address: Address, run: str, at: int) -> str:
    """The value of `Troupe-Fork`: the run to begin like, up to its step number `at`."""
    return f"{address.kind}.{encode_token(address.key)}.{at}.{run}"


def parse_fork(tenant: str, header: str) -> tuple[Address, str, int]:
    """(actor, run, step) of a `Troupe-Fork`, of the tenant of the command. Raises ValueError when it is none."""
    parts = header.split(".", 3)
    if len(parts) != 4 or not parts[2].isdecimal() or len(parts[2]) > 9:
        raise ValueError(f"{header[:80]!r} names no step of a run")
    address, run = parse_return_address(tenant, f"{parts[0]}.{parts[1]}.{parts[3]}")
    return address, run, int(parts[2])
