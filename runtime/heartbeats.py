"""Heartbeats: what a long step says while it goes on, and from which its next attempt can resume.

    async def load(path: str) -> int:
        done = heartbeat_detail(int) or 0
        for number, row in enumerate(rows_of(path)):
            if number >= done:
                await store(row)
                heartbeat(number + 1)
        return number + 1

    await ctx.step("load", load, path, heartbeat_timeout_s=30)

The last detail is an entry of the run's journal, written at once and then every RECORD_EVERY_S at most, and when an
attempt fails. So the next attempt has it, on whatever pod: after a crash the last one that was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from runtime.activity import outside
from runtime.ambient.secrets import guard
from runtime.arguments import MAX_KEPT_NESTING, UNENCODABLE, encode_json, json_decoder, nests_too_deep
from runtime.errors import BadResult

T = TypeVar("T")

BEAT = "$beat "
"""Begins the names of the entries; the step's name follows, or nothing for a function's own."""

RECORD_EVERY_S = 1.0
MAX_DETAIL_BYTES = 65_536

current: ContextVar[Source | None] = ContextVar("troupe_beats", default=None)


def heartbeat(detail: Any = None) -> None:
    """Says that the step, or the function, in which this is called goes on; from whatever thread it runs in.

    `detail` is any value with a JSON form of at most MAX_DETAIL_BYTES. Raises asyncio.CancelledError once the attempt
    is over: its time-out has passed, or it is another pod's. Raises BadResult elsewhere than in a step or a function.
    """
    _beats().beat(detail)


def heartbeat_detail(type: Any = Any) -> Any:
    """What the attempt before this one said last, read as `type`; None when that was nothing. Raises as that does."""
    former = _beats().former
    return None if former is None else json_decoder(type).decode(former)


def _beats() -> Beats:
    source = current.get()
    if source is None:
        raise BadResult("only a step or a function has heartbeats: call heartbeat() in one that a pod or a World runs")
    return source.begin()


class Source:
    """Where an attempt's heartbeats come from: nearly all attempts have none, and this costs them next to nothing."""

    __slots__ = ("_beats", "_loop", "_make", "_over")

    def __init__(self, make: Callable[[], Beats], loop: asyncio.AbstractEventLoop) -> None:
        self._make = make
        self._loop = loop
        self._beats: Beats | None = None
        self._over = False

    def begin(self) -> Beats:
        """The attempt's heartbeats. Raises asyncio.CancelledError once it is over: its thread may go on for long."""
        if self._over:
            raise asyncio.CancelledError("the attempt that this heartbeat is of is over")
        if self._beats is None:
            self._beats = self._make()
            self._beats.open(self._loop)
        return self._beats

    async def through(self, job: Awaitable[T], timeout_s: float | None) -> T:
        """Runs one attempt. Raises TimeoutError when it does not beat for `timeout_s` seconds."""
        mark = current.set(self)
        failed = True
        try:
            result = await (job if timeout_s is None else self.begin().watched(job, timeout_s))
            failed = False
            return result
        finally:
            self._over = True  # what the next attempt says goes to the same beats
            current.reset(mark)
            if self._beats is not None:
                await self._beats.close(failed=failed)


class Beats:
    """Those of one step, over its attempts in this process; for the event loop of handlers, but for `beat`.

    Args:
        detail: the last one of former attempts, as JSON.
        keep: adds one to the journal.
    """

    def __init__(self, detail: bytes | None, keep: Callable[[bytes], Awaitable[None]]) -> None:
        self.former = self._detail = detail
        self._keep = keep
        self._over = True
        self._unkept = False
        self._keeping: asyncio.Task[None] | None = None
        self._watch: asyncio.Timeout | None = None
        self._timeout_s = 0.0

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """An attempt begins, which runs in this event loop."""
        self._loop, self._over = loop, False
        self.former = self._detail

    async def close(self, *, failed: bool) -> None:
        """It has ended; the last detail of one that `failed` is sure to be kept."""
        self._over = True
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        if failed and self._unkept and self._detail is not None:
            with suppress(BadResult):  # the log does not take it: what the attempt ended with matters more
                await self._keep(self._detail)

    async def watched(self, job: Awaitable[T], timeout_s: float) -> T:
        """Runs the attempt. Raises TimeoutError."""
        self._timeout_s = timeout_s
        try:
            async with asyncio.timeout(timeout_s) as self._watch:
                return await job
        except TimeoutError:
            if self._watch is not None and self._watch.expired():
                raise TimeoutError(f"no heartbeat came for {timeout_s:g} s") from None
            raise
        finally:
            self._watch = None

    def beat(self, detail: Any) -> None:
        """See heartbeat."""
        if self._over:
            raise asyncio.CancelledError("the attempt that this heartbeat is of is over")
        try:
            encoded = guard.checked(encode_json(detail), "a heartbeat's detail")
        except (*UNENCODABLE, RecursionError) as error:
            raise BadResult(f"a heartbeat's detail, a {type(detail).__name__}, has no JSON form: {error}") from error
        if len(encoded) > MAX_DETAIL_BYTES or nests_too_deep(encoded, MAX_KEPT_NESTING):
            raise BadResult(f"a heartbeat's detail has at most {MAX_DETAIL_BYTES} bytes and {MAX_KEPT_NESTING} levels")
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._heard(encoded)
        else:
            self._loop.call_soon_threadsafe(self._heard, encoded, context=outside())

    def _heard(self, detail: bytes) -> None:
        if self._over:
            return
        self._detail, self._unkept = detail, True
        if self._watch is not None and not self._watch.expired():
            self._watch.reschedule(self._loop.time() + self._timeout_s)
        if self._keeping is None:
            self._keeping = self._loop.create_task(self._record(), context=outside())

    async def _record(self) -> None:
        while self._unkept and self._detail is not None:
            self._unkept = False
            try:
                await self._keep(self._detail)
            except BadResult:
                return  # the log does not take it: the attempt goes on without
            await asyncio.sleep(RECORD_EVERY_S)
        self._keeping = None
