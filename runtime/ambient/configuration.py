"""Configuration of handlers: values, flags and variants, which a run sees once and for all.

    limit = ctx.config.get("limit", 100)
    if ctx.config.flag("new-checkout"): …             # true, false, or a percentage of the keys
    colour = ctx.config.variant("button")             # "red" for half of the keys, "blue" for the others

They come from the file that RUNTIME_CONFIG names (TOML, or JSON), which is read again when it changes:

    limit = 250
    [flags]
    new-checkout = 10                                 # percent
    [variants.button]
    red = 50
    blue = 50
    [tenants.acme]                                    # a tenant's own go first
    limit = 1000
    flags = { new-checkout = true }

What a run (a workflow, a function, an async handler) has read is an entry of its journal: a replay reads the same,
whatever the file says by then. Who is in which share of a flag or variant follows from the actor's address and its
name.
"""

from __future__ import annotations

import os
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import msgspec

from runtime.arguments import json_decoder
from runtime.errors import BadResult, Misconfigured
from schemas.address import Address

LOOK_EVERY_S = 1.0

Recall = Callable[[str, Callable[[], Any]], Any]
"""What a run has read under a name; the first time it is what the function gives, from then on what is recorded."""


class ConfigSource(Protocol):
    """Where configuration comes from."""

    def read(self) -> Mapping[str, Any]:
        """All of it, in the shape of the file. May be called from any thread, at every look."""


class ConfigFile:
    """The file that RUNTIME_CONFIG names; without one there is no configuration."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked = 0.0
        self._seen: tuple[str, int, int] | None = None
        self._found: Mapping[str, Any] = {}

    def read(self) -> Mapping[str, Any]:
        """See ConfigSource. Raises Misconfigured when the file cannot be read."""
        path = os.environ.get("RUNTIME_CONFIG")
        if not path:
            return {}
        with self._lock:
            known = self._seen is not None and self._seen[0] == path
            if known and time.monotonic() < self._looked + LOOK_EVERY_S:
                return self._found
            try:
                about = os.stat(path)
                seen = (path, about.st_mtime_ns, about.st_size)
                if seen != self._seen:
                    text = Path(path).read_text()
                    self._found = msgspec.json.decode(text) if path.endswith(".json") else tomllib.loads(text)
                    self._seen = seen
            except (OSError, ValueError) as error:
                raise Misconfigured(f"RUNTIME_CONFIG={path!r} cannot be read: {error}") from error
            self._looked = time.monotonic()
            return self._found


_source: ConfigSource = ConfigFile()


def use(source: ConfigSource) -> None:
    """Takes configuration from elsewhere from now on, in this process."""
    global _source
    _source = source


class Config:
    """What one actor's handler sees of it."""

    def __init__(self, address: Address, recall: Recall) -> None:
        self._address = address
        self._recall = recall

    def get(self, name: str, default: Any = None, *, type: Any = Any) -> Any:
        """The value of that name, read as `type`; `default` when there is none. Raises BadResult for another type."""
        return self._typed(name, self._recall(name, lambda: self._find(name, default)), type)

    def __getitem__(self, name: str) -> Any:
        """The value of that name. Raises Misconfigured when there is none, which is tried again by policy."""
        missing = object()

        def find() -> Any:
            found = self._find(name, missing)
            if found is missing:
                text = f"there is no configuration {name!r}: put it into the file that RUNTIME_CONFIG names"
                raise Misconfigured(text)
            return found

        return self._recall(name, find)

    def flag(self, name: str, default: bool = False, *, unit: str | None = None) -> bool:
        """Whether a flag is on for this actor, or for `unit` (a customer, say): true, false, or in its percentage."""

        def find() -> bool:
            set_to = self._within("flags", name, default)
            if isinstance(set_to, bool):
                return set_to
            if isinstance(set_to, (int, float)) and 0 <= set_to <= 100:
                return self._share(name, unit) * 100 < set_to
            raise Misconfigured(f"flag {name!r} is true, false or a percentage, not {set_to!r}")

        return bool(self._recall(f"flag {name}", find))

    def variant(self, name: str, default: str = "", *, unit: str | None = None) -> str:
        """Which variant this actor has, or `unit`: by the configured weights; `default` when there are none."""

        def find() -> str:
            weights = self._within("variants", name, {})
            total = sum(weights.values()) if isinstance(weights, dict) else -1
            if total == 0:
                return default
            if total < 0 or any(weight < 0 for weight in weights.values()):
                raise Misconfigured(f"variant {name!r} is a table of weights, not {weights!r}")
            left = self._share(name, unit) * total
            for variant, weight in weights.items():
                left -= weight
                if left < 0:
                    return str(variant)
            return str(next(reversed(weights)))

        return str(self._recall(f"variant {name}", find))

    def _find(self, name: str, default: Any) -> Any:
        found = _source.read()
        own = found.get("tenants", {}).get(self._address.tenant, {})
        return own[name] if name in own else found.get(name, default)

    def _within(self, table: str, name: str, default: Any) -> Any:
        found = _source.read()
        own = found.get("tenants", {}).get(self._address.tenant, {}).get(table, {})
        return own[name] if name in own else found.get(table, {}).get(name, default)

    def _share(self, name: str, unit: str | None) -> float:
        """A number in [0, 1) that is always the same for this actor, or unit, and name."""
        of = f"{self._address.tenant}/{unit}" if unit is not None else str(self._address)
        return int.from_bytes(blake2b(f"{name}/{of}".encode(), digest_size=8).digest()) / 2**64

    @staticmethod
    def _typed(name: str, value: Any, type: Any) -> Any:
        if type is Any:
            return value
        try:
            return json_decoder(type).decode(msgspec.json.encode(value))
        except ValueError as error:
            raise BadResult(f"configuration {name!r} is not of the type that was asked for: {error}") from error
