"""Arrays for the commit path, as literals and in binary form.

psycopg's own list dumper costs about 1 µs an element, and a commit sends some thirty elements a command. A literal
built by joining is ten times cheaper. Where elements are of one length, the binary form is cheaper still: five times to
build, and three times to read, since the server reads each digit of a literal.

Source: array_recv in PostgreSQL's utils/adt/arrayfuncs.c: the array's header, and each element after its length.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import partial

_UUID, _INT2, _INT4, _INT8 = 2950, 21, 23, 20
"""Types as Postgres numbers them, in each of its versions."""

_HEADER = struct.Struct(">5i")
"""Dimensions, flags, the elements' type, their number, and the number of the first one."""

_LENGTH_OF_UUID = "00000010"
FEW = 8
"""Elements below which a literal is built sooner."""


def uuids(values: Sequence[str]) -> str | bytes:
    """An array of uuids, given as 32 hex digits each."""
    try:
        body = bytes.fromhex(_LENGTH_OF_UUID + _LENGTH_OF_UUID.join(values)) if values else b""
    except ValueError:
        return plain(values)  # the server refuses what is none, and names it
    return _header(_UUID, len(values)) + body if len(body) == 20 * len(values) else plain(values)


def _integers(type: int, size: int, values: Sequence[int]) -> str | bytes:
    if len(values) < FEW:
        return plain(values)
    try:
        numbers = array({2: "h", 4: "i", 8: "q"}[size], values)
    except OverflowError:
        return plain(values)  # the server refuses what is too large, and names it
    if sys.byteorder == "little":
        numbers.byteswap()
    digits, stride = numbers.tobytes(), 4 + size
    body = bytearray((size.to_bytes(4, "big") + bytes(size)) * len(values))
    for place in range(size):
        body[4 + place :: stride] = digits[place::size]
    return _header(type, len(values)) + body


smallints = partial(_integers, _INT2, 2)
ints = partial(_integers, _INT4, 4)
bigints = partial(_integers, _INT8, 8)


def _header(type: int, count: int) -> bytes:
    return _HEADER.pack(1, 0, type, count, 1) if count else _HEADER.pack(0, 0, type, 0, 1)[:12]


def plain(values: Iterable[object]) -> str:
    """An array literal of numbers, booleans or hex: values whose text needs no quotes."""
    return "{" + ",".join(map(str, values)) + "}"


def texts(values: Sequence[str | None]) -> str:
    """An array literal of texts; None becomes NULL, a column of nothing else empty: unnest fills it up with NULLs."""
    missing = values.count(None)
    if missing == len(values):
        return "{}"
    if missing:
        return "{" + ",".join(["NULL" if value is None else f'"{_escaped(value)}"' for value in values]) + "}"
    joined = '","'.join(values)  # type: ignore[arg-type]  # there is no None among them
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        joined = '","'.join([_escaped(value) for value in values if value is not None])
    return '{"' + joined + '"}'


def numbers(values: Iterable[float | None]) -> str:
    """An array literal of numbers; None becomes NULL."""
    return "{" + ",".join(["NULL" if value is None else repr(value) for value in values]) + "}"


def hexes(values: Iterable[bytes]) -> str:
    """An array literal of bytes as hex texts, for `decode(x, 'hex')`."""
    return '{"' + '","'.join([value.hex() for value in values]) + '"}'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
