"""The file of API keys, and how a key is made.

One JSON object a line (empty lines and lines that begin with '#' are skipped), or one JSON array of them:

    {"id": "9f2c51d0", "hash": "<SHA-256 of the key, hex>", "tenant": "acme", "principal": "ann", "roles": ["admin"]}

A key is `troupe_<id>_<256 random bits>`. Only its hash is kept: a random key of that size cannot be guessed from it, so
no slow hash is needed. Change the file by writing a new one and renaming it over the old: it is read again at once.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from runtime.errors import CallFailed, Misconfigured
from schemas.address import BadAddress, check_name
from schemas.signature import join_roles

PREFIX = "troupe"
LOOK_EVERY_S = 0.5
"""How long a revoked key may go on to work."""

_log = logging.getLogger("troupe.gateway")


class KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key as the file has it."""

    id: str
    hash: str
    tenant: str
    principal: str
    roles: tuple[str, ...] = ()


def new_key(tenant: str, principal: str, roles: tuple[str, ...] = ()) -> tuple[str, str]:
    """(the key itself, the line for the file). The key is shown to its owner once, and kept nowhere.

    Raises ValueError for a tenant or a role that is no name, or a principal that a header cannot carry.
    """
    check_name(tenant, "tenant")
    if not principal or principal != principal.strip() or any(ord(char) < 0x20 for char in principal):
        raise ValueError(f"principal {principal[:80]!r} cannot be used: give a name without control characters")
    join_roles(roles)
    id = secrets.token_hex(4)
    key = f"{PREFIX}_{id}_{secrets.token_urlsafe(32)}"
    entry = KeyEntry(id, _hash(key), tenant, principal, tuple(roles))
    return key, msgspec.json.encode(entry).decode()


def parse_keys(text: str) -> dict[str, KeyEntry]:
    """The keys of a file by id. Raises Misconfigured naming the line."""
    entries: dict[str, KeyEntry] = {}
    if text.lstrip().startswith("["):
        lines = [("the array", text)]
    else:
        lines = [(f"line {number}", line) for number, line in enumerate(text.splitlines(), 1)]
    for place, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found = msgspec.json.decode(line, type=list[KeyEntry] | KeyEntry)
            for entry in found if isinstance(found, list) else [found]:
                check_name(entry.tenant, "tenant")
                join_roles(entry.roles)
                if len(bytes.fromhex(entry.hash)) != hashlib.sha256().digest_size:
                    raise ValueError("the hash is not a SHA-256 in hex")
                if entry.id in entries:
                    raise ValueError(f"the id {entry.id!r} is there twice")
                entries[entry.id] = entry
        except (msgspec.DecodeError, BadAddress, ValueError) as error:
            raise Misconfigured(f"the API keys file cannot be used: {place}: {error}") from error
    return entries


class Keyring:
    """The keys of a file, read again when it changes. `now` is a monotonic clock in seconds."""

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        """Raises Misconfigured when the file cannot be used."""
        self._path = path
        self._now = now
        self._looked_at = now()
        self._stamp = _stamp(path)
        self._problem: str | None = None
        self._entries = _read(path)

    def find(self, key: str) -> KeyEntry | None:
        """The entry of a key, or None for one that is not valid.

        Raises CallFailed (unavailable) while the file cannot be used: a key that was meant to be revoked must not go on
        to work because of a slip.
        """
        self._look()
        if self._problem is not None:
            raise CallFailed("unavailable", "the gateway's API keys cannot be read now: its log says why")
        _, _, rest = key.partition("_")
        entry = self._entries.get(rest.partition("_")[0])
        expected = entry.hash if entry is not None else "0" * 64
        return entry if hmac.compare_digest(_hash(key), expected.lower()) else None

    def _look(self) -> None:
        now = self._now()
        if now < self._looked_at + LOOK_EVERY_S:
            return
        self._looked_at = now
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp and self._problem is None:
                return
            self._entries = _read(self._path)
            self._stamp = stamp
            self._problem = None
            _log.info("read %d API keys from %s", len(self._entries), self._path)
        except Misconfigured as error:
            if self._problem != str(error):
                _log.error("nobody is let in: %s", error)  # the message says it all
            self._problem = str(error)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise Misconfigured(f"the API keys file {path} cannot be read: {error.strerror}") from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> dict[str, KeyEntry]:
    try:
        return parse_keys(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the API keys file {path} cannot be read: {error}") from error


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
