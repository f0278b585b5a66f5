"""What the pieces found, kept in a file an axis, so that a report is made of all pieces whenever they ran."""

from __future__ import annotations

import contextlib
import datetime
import platform
from pathlib import Path

import msgspec
import psutil

from runtime.version import VERSION
from tests.support.system import ROOT

DIRECTORY = ROOT / ".scale"


class Piece(msgspec.Struct):
    """One size of an axis: its figures by name, and of what it was measured."""

    size: int
    figures: dict[str, float]
    at: str = ""
    machine: str = ""


def keep(directory: Path, axis: str, size: int, figures: dict[str, float]) -> None:
    """Adds a piece, in place of an earlier one of that size."""
    pieces = [one for one in load(directory, axis) if one.size != size]
    memory = psutil.virtual_memory().total / 2**30
    machine = f"Troupe {VERSION}, Python {platform.python_version()}, {psutil.cpu_count()} cores, {memory:.0f} GB"
    at = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    pieces.append(Piece(size, figures, at, machine))
    directory.mkdir(parents=True, exist_ok=True)
    pieces.sort(key=lambda piece: piece.size)
    (directory / f"{axis}.json").write_bytes(msgspec.json.format(msgspec.json.encode(pieces)) + b"\n")


def load(directory: Path, axis: str) -> list[Piece]:
    """The pieces of an axis, by size; none if it was not measured."""
    with contextlib.suppress(FileNotFoundError):
        return msgspec.json.decode((directory / f"{axis}.json").read_bytes(), type=list[Piece])
    return []
