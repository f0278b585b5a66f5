"""Who an actor is: its tenant, kind and key, and what follows from them.

One key must have one spelling, since the broker hashes the spelling: two spellings would be two partitions, and two
writers for one actor. So tokens are percent-encoded in exactly one way, and any other spelling is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

MAX_TOKEN_BYTES = 200
"""The longest encoded token. NATS closes the connection of a client whose subject passes its control line (4096)."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_CANONICAL = re.compile(r"(?:[A-Za-z0-9_~-]|%[0-9A-F]{2})+\Z")


class BadAddress(ValueError):
    """This name cannot be part of an actor's address; the message says which part, why, and what is allowed."""


class Address(NamedTuple):
    """An actor's address. `tenant` and `kind` are plain names; `key` is any non-empty text without NUL."""

    tenant: str
    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.kind}/{self.key}"


def check_name(name: str, part: str) -> str:
    """`name` itself when it can be a tenant, kind, method or group; raises BadAddress naming `part` otherwise."""
    if not _NAME.match(name):
        raise BadAddress(f"{part} {name[:80]!r} is not a name: use 1 to 64 letters, digits, '_' or '-'")
    return name


@lru_cache(maxsize=65_536)
def encode_token(key: str) -> str:
    """The one spelling of `key` as a subject token.

    RFC 3986 percent-encoding of the UTF-8 bytes, upper-case hex, where only letters, digits, '-', '_' and '~' stay
    (so '.', '*', '>' and spaces never reach a subject). Raises BadAddress for an empty key, a NUL (which Postgres takes
    in no text), a lone surrogate, or more than MAX_TOKEN_BYTES once encoded.
    """
    if not key:
        raise BadAddress("the key is empty: an actor needs a key of at least one character")
    if len(key) > MAX_TOKEN_BYTES:  # before it is encoded, which takes its time for a megabyte
        raise BadAddress(
            f"the key is {len(key)} characters long, and {MAX_TOKEN_BYTES} bytes is the limit: use a digest of it"
        )
    if "\0" in key:
        raise BadAddress(f"the key {key!r} holds a NUL, which the log cannot keep: leave it out")
    try:
        token = quote(key, safe="~").replace(".", "%2E")
    except UnicodeEncodeError as error:
        raise BadAddress("the key holds a lone surrogate, which has no UTF-8 form: send well-formed text") from error
    if len(token) > MAX_TOKEN_BYTES:
        raise BadAddress(
            f"the key is {len(token)} bytes long once encoded, and {MAX_TOKEN_BYTES} is the limit: use a digest of it"
        )
    return token


@lru_cache(maxsize=65_536)
def decode_token(token: str) -> str:
    """The key that `token` spells. Raises BadAddress when the token is not the one spelling of a key."""
    if len(token) > MAX_TOKEN_BYTES:
        raise BadAddress(f"the key's token is {len(token)} bytes long, and {MAX_TOKEN_BYTES} is the limit")
    if not _CANONICAL.match(token):
        raise BadAddress(f"the key's token {token[:80]!r} is not percent-encoded: see encode_token in docs/protocol.md")
    if "%" not in token:
        return token
    try:
        key = unquote_to_bytes(token).decode()
    except UnicodeDecodeError as error:
        raise BadAddress(f"the key's token {token[:80]!r} is not UTF-8 once decoded") from error
    if encode_token(key) != token:
        raise BadAddress(f"the key's token {token[:80]!r} has another spelling, {encode_token(key)!r}: use that one")
    return key


@lru_cache(maxsize=65_536)
def partition_of(tenant: str, kind: str, key_token: str, partitions: int) -> int:
    """The partition the broker gives these tokens: FNV-1a, 32 bits, over them joined, modulo `partitions`.

    Source: `{{partition(n,1,2,3)}}` of NATS subject mapping; a contract test compares this with a real server.
    """
    value = 0x811C9DC5
    for byte in (tenant + kind + key_token).encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value % partitions


@lru_cache(maxsize=65_536)
def actor_id(tenant: str, kind: str, key_token: str) -> str:
    """The actor's id in the log: 32 hex digits, a digest of the address, so that no look-up is needed to know it."""
    return blake2b(f"{tenant}.{kind}.{key_token}".encode(), digest_size=16, person=b"troupe-actor").hexdigest()
