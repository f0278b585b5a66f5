"""What a reader is written: SSE or NDJSON, until it has all, goes, or takes nothing any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Literal

import msgspec
from litestar import Litestar, Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from gateway.context import Gateway
from gateway.errors import encode_failure, failure_of
from gateway.responses import AnyRequest, header
from runtime.client.feed import Watcher
from runtime.client.stored import Entry
from runtime.errors import CallFailed

ABORT = "troupe.abort"
"""The ASGI extension by which gateway.serve lets a response end its connection at once."""

Format = Literal["sse", "ndjson"]
MEDIA = {"sse": "text/event-stream; charset=utf-8", "ndjson": "application/x-ndjson"}
PAGE = 500
LATE_FACTS_S = 2.0
"""How long a stream waits for a result's fact once the result is known."""

_encode = msgspec.json.Encoder().encode


class Sink:
    """Writes events to one reader, in its format. Raises Stalled when it takes nothing for `stall_s` seconds."""

    def __init__(self, send: Send, format: Format, stall_s: float) -> None:
        self._send = send
        self._sse = format == "sse"
        self._stall_s = stall_s

    async def facts(self, entries: list[Entry]) -> None:
        """Facts of the stream, with their ids."""
        if self._sse:
            chunk = b"".join([b"id: %d\ndata: %b\n\n" % (entry.sequence, one_line(entry.body)) for entry in entries])
        else:
            chunk = b"".join([b'{"id":%d,"fact":%b}\n' % (entry.sequence, one_line(entry.body)) for entry in entries])
        await self.write(chunk)

    async def fact(self, body: bytes) -> None:
        """A fact of the log, which has no id in the stream."""
        body = one_line(body)
        await self.write(b"data: %b\n\n" % body if self._sse else b'{"fact":%b}\n' % body)

    async def event(self, name: str, data: bytes, id: int | None = None) -> None:
        """One named event; `data` is JSON."""
        data = one_line(data)
        if self._sse:
            head = b"" if id is None else b"id: %d\n" % id
            await self.write(b"%bevent: %b\ndata: %b\n\n" % (head, name.encode(), data))
        else:
            head = b"" if id is None else b'"id":%d,' % id
            await self.write(b'{%b"event":"%b","data":%b}\n' % (head, name.encode(), data))

    async def translated(self, events: list[dict[str, Any]], id: int | None) -> None:
        """Events of another protocol that one entry of the stream has led to: the last one has its id."""
        parts: list[bytes] = []
        for at, event in enumerate(events, 1):
            data, own = _encode(event), id if at == len(events) else None
            if self._sse:
                parts.append((b"" if own is None else b"id: %d\n" % own) + b"data: %b\n\n" % data)
            else:
                parts.append((b"{" if own is None else b'{"id":%d,' % own) + b'"event":%b}\n' % data)
        await self.write(b"".join(parts))

    async def comment(self, text: str) -> None:
        """A sign of life, which readers skip."""
        await self.write(b": %b\n\n" % text.encode() if self._sse else b"\n")

    async def write(self, chunk: bytes, *, last: bool = False) -> None:
        """Bytes to the reader, once it has taken what was written before."""
        try:
            async with asyncio.timeout(self._stall_s):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})
        except TimeoutError:
            raise Stalled(f"the reader took nothing for {self._stall_s:g} s") from None


class SocketSink(Sink):
    """The same to a WebSocket: each event a message, as NDJSON has them."""

    def __init__(self, send: Callable[[str], Awaitable[None]], stall_s: float) -> None:
        super().__init__(_no_response, "ndjson", stall_s)
        self._send_text = send

    async def write(self, chunk: bytes, *, last: bool = False) -> None:
        """See Sink.write. Signs of life are the socket's own."""
        try:
            async with asyncio.timeout(self._stall_s):
                for line in chunk.decode().splitlines():
                    if line:
                        await self._send_text(line)
        except TimeoutError:
            raise Stalled(f"the reader took nothing for {self._stall_s:g} s") from None


async def _no_response(message: Any) -> None:
    raise AssertionError("a socket is written by its own way")


class Stalled(Exception):
    """The reader takes nothing any more."""


class EventStream(Response[bytes]):
    """A response that `produce` writes, until it returns, the reader goes, or the gateway ends."""

    def __init__(
        self,
        gateway: Gateway,
        format: Format,
        produce: Callable[[Sink], Awaitable[None]],
        reader: Watcher | None = None,
    ) -> None:
        """`reader` is closed at the end."""
        super().__init__(b"")
        self._gateway = gateway
        self._format: Format = format
        self._produce = produce
        self._reader = reader

    def to_asgi_response(self, app: Litestar | None, request: AnyRequest, **options: Any) -> ASGIResponse:
        """The response as Litestar serves it."""
        return _Serving(self)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Writes the response."""
        sink = Sink(send, self._format, self._gateway.settings.stall_s)
        headers = [
            (b"content-type", MEDIA[self._format].encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        tasks: list[asyncio.Future[Any]] = []
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            tasks += [
                asyncio.ensure_future(self._produce(sink)),
                asyncio.ensure_future(self._gateway.stopping.wait()),
                asyncio.ensure_future(_gone(receive)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            producing, stopping, gone = tasks
            if gone.done():
                return
            if stopping.done() and not producing.done():
                producing.cancel()
                await asyncio.wait([producing])
                await sink.comment("this gateway ends: connect again, another one goes on from the last id")
            elif producing.done() and (error := producing.exception()) is not None:
                await _tell(sink, error)
            await sink.write(b"", last=True)
        except Stalled:
            _abort(scope)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._reader is not None:
                await self._reader.close()


class _Serving(ASGIResponse):
    def __init__(self, stream: EventStream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream.serve(scope, receive, send)


async def batches(
    reader: Watcher, heartbeat_s: float, until: asyncio.Future[Any] | None = None
) -> AsyncGenerator[list[Entry], None]:
    """Entries as they come, an empty list after each `heartbeat_s` seconds of silence.

    Ends when nothing came for LATE_FACTS_S seconds after `until` was done.
    """
    following: asyncio.Future[Entry] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(reader.next())
            waited: list[asyncio.Future[Any]] = [following]
            limit_s = heartbeat_s
            if until is not None and until.done():
                limit_s = LATE_FACTS_S
            elif until is not None:
                waited.append(until)
            await asyncio.wait(waited, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                first = following.result()
                following = None
                yield [first, *reader.waiting(PAGE)]
            elif until is not None and until.done():
                if limit_s == LATE_FACTS_S:
                    return
            else:
                yield []
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait([following])


async def _tell(sink: Sink, error: BaseException) -> None:
    if isinstance(error, Stalled):
        raise error
    if isinstance(error, Exception):
        await sink.event("error", encode_failure(failure_of(error)))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _abort(scope: Scope) -> None:
    abort: Any = (scope.get("extensions") or {}).get(ABORT)
    if abort is not None:
        abort["now"]()


def format_of(request: AnyRequest, asked: str | None = None) -> Format:
    """The format that a request wants: SSE unless it says NDJSON."""
    if asked in ("sse", "ndjson"):
        return asked  # type: ignore[return-value]  # narrowed by the comparison
    if asked is not None:
        raise CallFailed("bad_request", f"format {asked[:40]!r} is not known: use sse or ndjson")
    accept = header(request, b"accept") or ""
    return "ndjson" if "ndjson" in accept or "jsonl" in accept else "sse"


def wants_stream(request: AnyRequest) -> bool:
    """Whether a request asks for a stream by what it accepts."""
    accept = header(request, b"accept") or ""
    return any(word in accept for word in ("text/event-stream", "ndjson", "jsonl"))


def one_line(data: bytes) -> bytes:
    """JSON without line breaks, which can only be white space in it."""
    if b"\n" in data or b"\r" in data:
        return data.replace(b"\r", b" ").replace(b"\n", b" ")
    return data
