"""Models' texts made fit for the wire: their JSON may hold halves of characters, which nothing can encode."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T", bound=Struct)

_encode = msgspec.json.Encoder().encode


def sound(piece: T) -> T:
    """The piece as it is, or with halves that belong together joined, and others replaced (U+FFFD)."""
    try:
        _encode(piece)
    except UnicodeEncodeError:
        return msgspec.convert(_mended(msgspec.to_builtins(piece)), type(piece))
    return piece


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {name: _mended(one) for name, one in value.items()}
    return [_mended(one) for one in value] if isinstance(value, (list, tuple)) else value
