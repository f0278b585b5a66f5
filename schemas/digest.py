"""The digest that tells a repeat from another command with the same id."""

from __future__ import annotations

import zlib
from functools import lru_cache


def digest_of(method: str, body: bytes) -> int:
    """CRC-32 of method and body as a signed number: it finds mistakes, it does not resist an attacker."""
    value = zlib.crc32(body, _started(method))
    return value - (1 << 32) if value >= 1 << 31 else value


@lru_cache(maxsize=1024)
def _started(method: str) -> int:
    return zlib.crc32(method.encode())


def signed(value: int) -> int:
    """A number of 32 bits as Postgres has it."""
    return value - (1 << 32) if value >= 1 << 31 else value
