"""Array literals for the commit path.

psycopg's own list dumper costs about 1 µs an element, and a commit sends some thirty elements a command. A literal
built by joining is ten times cheaper; the server parses either at the same price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def plain(values: Iterable[object]) -> str:
    """An array literal of numbers, booleans or hex: values whose text needs no quotes."""
    return "{" + ",".join(map(str, values)) + "}"


def texts(values: Sequence[str | None]) -> str:
    """An array literal of texts; None becomes NULL, a column of nothing else empty: unnest fills it up with NULLs."""
    if not any(values):
        if all(value is None for value in values):
            return "{}"
        return "{" + ",".join(["NULL" if value is None else '""' for value in values]) + "}"
    try:
        joined = '","'.join(values)  # type: ignore[arg-type]  # a None raises TypeError, handled below
    except TypeError:
        return "{" + ",".join(["NULL" if value is None else f'"{_escaped(value)}"' for value in values]) + "}"
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
