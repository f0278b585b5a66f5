"""What commands print: aligned tables for people, JSON for scripts, and no control characters of anybody's making."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

LONGEST_CELL = 100


def print_json(value: Any) -> None:
    """`value` as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """One line for a person, at once, also into a pipe."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def print_piece(text: str) -> None:
    """A piece of a longer text for a person, at once; its ends of lines are kept."""
    sys.stdout.write("\n".join(printable(line) for line in text.split("\n")))
    sys.stdout.flush()


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "none") -> None:
    """Rows under headers; numbers to the right, None as '-'. With no rows, the text `empty`."""
    rows = list(rows)
    if not rows:
        print_line(empty)
        return
    for line in _aligned(headers, rows):
        print_line(line)


def as_text(value: Any) -> str:
    """JSON text of a value, for a cell or a line."""
    return msgspec.json.encode(value).decode()


def printable(text: str) -> str:
    """`text` with what could move a terminal's cursor made visible."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def clipped(text: str, longest: int = LONGEST_CELL) -> str:
    """`text`, cut when it is too long for a table."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _aligned(headers: Sequence[str], rows: list[Sequence[Any]]) -> list[str]:
    cells = [list(headers)] + [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    types_of = [{type(value) for value in values} - {type(None)} for values in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if types and types <= {int, float} else cell.ljust(width)
            for cell, width, types in zip(row, widths, types_of, strict=True)
        ).rstrip()
        for row in cells
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return printable(clipped(str(value)))
