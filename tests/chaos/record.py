"""What the load writes down: one entry a command, read and stream, kept in memory and written at the end.

An actor is named `<tenant>/<kind>/<key>`, a session `<tenant>/<session>`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from schemas.wire import Fact

TOO_LATE = "too-late"
"""The method of what is said to a run that has ended, and meant to be refused."""

DELETE = "delete"
"""The method of an order to delete the actor, which is no command."""

SAID = ("say", "interrupt", "reject")
"""The methods of what is said to a session: by what it does there when that is busy."""

CALL_OFF = "cancel"
"""That of a message's end."""

_values = msgspec.json.Decoder(list[msgspec.Raw])

Outcome = Literal["done", "rejected", "cancelled", "terminated", "timed_out", "failed", "stuck", "stored", "unknown"]
Via = Literal["client", "raw", "http", "publish"]


class LoadPlan(msgspec.Struct):
    """What the driver tells the load's process. `gateways` are URLs, `api_keys` are by tenant.

    `programs` are the letters of programs.py that run; all of them when it is empty.
    """

    nats_url: str
    gateways: list[str]
    api_keys: dict[str, str]
    seconds: float
    settle_s: float
    seed: int
    keys: int
    rate: float
    sessions: int
    record: str
    programs: str = ""
    looks: float = 0.05


class Entry(msgspec.Struct, array_like=True):
    """One command and its first answer.

    `amount` is what the command asked to add or to move, `target` the actor it moves to. `sent_at` is Unix seconds,
    `waited_s` what its caller waited. `value` and `seq` are the answer's. `again` is a later answer to the same id,
    (value, seq), if one was asked for, and `reused` the code of the error when it was sent with other arguments.
    An outcome `stored` is the broker's acknowledgement alone, `unknown` an order that nobody answered. `aim` is what a
    workflow's run is to come to, with `run_timeout_s` as the time it has.
    """

    actor: str
    id: str
    method: str
    amount: int
    target: str
    sent_at: float
    via: Via = "client"
    session: str = ""
    waited_s: float = 0.0
    outcome: Outcome = "stuck"
    value: int | None = None
    seq: int = 0
    again: tuple[int | None, int] | None = None
    reused: str | None = None
    error: str = ""
    aim: Outcome = "done"
    run_timeout_s: float | None = None


class Look(msgspec.Struct, array_like=True):
    """One query of a counter: `at_least` is the highest sequence that any caller had been told before it was asked.

    `value` and `seq` are the answer, `pid` the process that gave it. `caller` tells whose looks never go back.
    `asked_at` and `at` are when it was asked and answered, in Unix seconds.
    """

    actor: str
    caller: str
    at_least: int
    seq: int
    value: int
    pid: int
    asked_at: float = 0.0
    at: float = 0.0


class Shown(NamedTuple):
    """Progress: some values of an attempt at a step, as JSON; `first` is the number of the first of them."""

    step: str
    occurrence: int
    attempt: int
    first: int
    values: tuple[str, ...]


class Seen(NamedTuple):
    """One fact as a reader got it. `sequence` is the stream's, 0 for one from the log, -1 where a reset was told.

    `at` is when the stream stored it (Unix seconds), 0.0 where nobody asked. `actor` is `<kind>/<key>`, `shown` of
    progress.
    """

    sequence: int
    type: str
    command: str
    position: str | None
    at: float = 0.0
    actor: str = ""
    shown: Shown | None = None


def seen_of(sequence: int, fact: Fact, at: float = 0.0) -> Seen:
    """What is kept of a fact."""
    shown = None
    if fact.type == "progress":
        values = tuple(bytes(value).decode() for value in _values.decode(fact.data))
        shown = Shown(fact.name, fact.occurrence, fact.attempt, fact.first, values)
    return Seen(sequence, fact.type, fact.command, fact.position, at, f"{fact.kind}/{fact.key}", shown)


class Reading(msgspec.Struct, array_like=True):
    """One reader of a session, through all its cuts: each time it went on behind the last sequence it had seen."""

    session: str
    how: Literal["nats", "sse"]
    seen: list[Seen]
    cuts: int = 0
    ended: bool = False
    """Whether it saw the result of every command that it was told of."""


class Record(msgspec.Struct):
    """Everything the load saw. `misordered` are answers that do not fit the actor's order, as sentences."""

    entries: list[Entry]
    misordered: list[tuple[str, str]]
    """(actor, what was wrong)."""
    looks: list[Look] = []
    readings: list[Reading] = []


def write(path: Path, record: Record) -> None:
    """Keeps a record."""
    path.write_bytes(msgspec.msgpack.encode(record))


def read(path: Path) -> Record:
    """A record that was kept."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Record)
