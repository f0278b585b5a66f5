"""Readers of sessions: over NATS and over HTTP, cut again and again, each going on behind the last it has seen."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import msgspec

from runtime.client import Client, StreamReset
from runtime.errors import TroupeError
from schemas.wire import Fact
from tests.chaos.record import Reading, Seen, seen_of
from tests.chaos.web import Web

CUT_AFTER_S = (1.0, 6.0)
PAUSE_S = 0.1
PAGE = 500

_decode_fact = msgspec.json.Decoder(Fact).decode


class _Page(msgspec.Struct):
    facts: list[Fact]
    more: bool




class Reader:
    """Reads one session from its beginning."""

    def __init__(self, session: str, reading: Reading, seed: str, until: float) -> None:
        self.tenant, self.session = session.split("/")
        self.reading = reading
        self._chance = random.Random(seed)
        self._until = until
        self._after = 0
        self._results: set[str] = set()

    def has(self, commands: set[str]) -> bool:
        """Whether what came of all these commands was seen."""
        return commands <= self._results

    async def run(self) -> None:
        """Reads until it is cancelled, or the time is over."""
        while time.monotonic() < self._until:
            cut_s = self._chance.uniform(*CUT_AFTER_S)
            try:
                async with asyncio.timeout(cut_s):
                    await self.read()
            except TimeoutError:  # the cut
                self.reading.cuts += 1
            except (TroupeError, httpx.HTTPError, OSError):
                await asyncio.sleep(PAUSE_S)

    async def read(self) -> None:
        """Goes on behind the last sequence that was seen. Raises what breaks."""
        raise AssertionError("how to read is the subclasses' business")

    def note(self, sequence: int, fact: Fact) -> None:
        """A fact was seen."""
        self.reading.seen.append(seen_of(sequence, fact))
        if fact.type in ("result", "error"):
            self._results.add(fact.command)
        self._after = sequence or self._after

    def reset(self) -> None:
        """What follows is not what followed."""
        self.reading.seen.append(Seen(-1, "reset", "", None))


class NatsReader(Reader):
    """Reads by `Client.subscribe`."""

    def __init__(self, client: Client, session: str, reading: Reading, seed: str, until: float) -> None:
        super().__init__(session, reading, seed, until)
        self._client = client

    async def read(self) -> None:
        try:
            async with aclosing(self._client.subscribe(self.session, after=self._after)) as facts:
                async for sequence, fact in facts:
                    self.note(sequence, fact)
        except StreamReset as told:
            self.reset()
            async for fact in self._from_log():
                self.note(0, fact)
            self._after = told.last

    async def _from_log(self) -> AsyncIterator[Fact]:
        after: dict[str, int] = {}
        while True:
            request: dict[str, Any] = {
                "tenant": self.tenant, "session": self.session, "after": after, "limit": PAGE
            }  # fmt: skip
            page: _Page = await self._client.service("session", request, type=_Page)
            for fact in page.facts:
                lane, _, position = (fact.position or "").partition(":")
                if position:
                    after[lane] = int(position)
                yield fact
            if not page.more:
                return


class WebReader(Reader):
    """Reads by SSE, each time from another gateway, with Last-Event-ID."""

    def __init__(self, web: Web, session: str, reading: Reading, seed: str, until: float) -> None:
        super().__init__(session, reading, seed, until)
        self._web = web

    async def read(self) -> None:
        async with self._web.stream(self.tenant, self.session, self._after) as events:
            async for event in events:
                if event.name == "message":
                    self.note(event.id or 0, _decode_fact(event.data))
                elif event.name == "reset":
                    self.reset()
                elif event.name == "live":
                    self._after = event.id or 0
                elif event.name == "error":
                    raise OSError(json.dumps(event.data))
        raise OSError("the stream ended")
