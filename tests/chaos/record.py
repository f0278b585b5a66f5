"""What the load writes down: one entry a command, kept in memory and written at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Outcome = Literal["done", "rejected", "failed", "stuck"]


class LoadPlan(msgspec.Struct):
    """What the driver tells the load's process."""

    nats_url: str
    seconds: float
    settle_s: float
    seed: int
    keys: int
    rate: float
    record: str


class Entry(msgspec.Struct, array_like=True):
    """One command and its first answer.

    `amount` is what the command asked to add or to move, `target` the key it moves to. `sent_at` is Unix seconds,
    `waited_s` what its caller waited. `value` and `seq` are the answer's. `seconds` is a later answer to the same id,
    (value, seq), if one was asked for.
    """

    key: str
    id: str
    method: str
    amount: int
    target: str
    sent_at: float
    waited_s: float = 0.0
    outcome: Outcome = "stuck"
    value: int | None = None
    seq: int = 0
    again: tuple[int | None, int] | None = None
    error: str = ""


class Record(msgspec.Struct):
    """Everything the load saw. `misordered` are answers that do not fit the key's order, as sentences."""

    entries: list[Entry]
    misordered: list[tuple[str, str]]
    """(key, what was wrong)."""


def write(path: Path, record: Record) -> None:
    """Keeps a record."""
    path.write_bytes(msgspec.msgpack.encode(record))


def read(path: Path) -> Record:
    """A record that was kept."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Record)
