"""Which kinds there are, for the executions of a pod: asked of the log, and kept for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from runtime.errors import CallFailed
from runtime.host.ports import LogUnavailable

LOOK_AGAIN_S = 1.0
"""A kind that pods begin to serve is known to all others after this."""

_encode = msgspec.json.Encoder().encode


class Catalogue:
    """The kinds as JSON. `capabilities` asks the log for them."""

    def __init__(self, capabilities: Callable[[], Awaitable[list[Any]]], monotonic: Callable[[], float]) -> None:
        self._capabilities = capabilities
        self._monotonic = monotonic
        self._known: bytes | None = None
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    async def kinds(self) -> bytes:
        """A JSON list of schemas.wire.Capability, the same while nothing changes.

        Raises CallFailed (unavailable) when the log cannot be asked now and never could.
        """
        if self._fresh():
            return self._known or b"[]"
        async with self._looking:
            if not self._fresh():
                try:
                    found = _encode(await self._capabilities())
                except LogUnavailable as error:
                    if self._known is None:
                        raise CallFailed("unavailable", f"which kinds there are is not known now: {error}") from error
                else:
                    self._known = found if found != self._known else self._known
                self._looked_at = self._monotonic()
        return self._known or b"[]"

    def _fresh(self) -> bool:
        return self._known is not None and self._monotonic() - self._looked_at < LOOK_AGAIN_S
