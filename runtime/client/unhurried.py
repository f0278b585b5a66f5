"""nats-py without what it imports for WebSockets, until one is used.

It imports aiohttp wherever it is installed (the extra `agents` brings it): a quarter of what a pod or a command takes
to start. The package imports this module before any other that imports nats.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

_NAMES = ("aiohttp", "multidict")


class _WhenUsed:
    """A module that is imported when something of it is asked for. Raises ImportError then if it is not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


def _import_transport() -> None:
    hidden = [name for name in _NAMES if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "not to be imported"
    try:
        transport = import_module("nats.aio.transport")
    finally:
        for name in hidden:
            del sys.modules[name]
    for name in hidden:
        setattr(transport, name, _WhenUsed(name))


if "nats.aio.transport" not in sys.modules:
    _import_transport()
