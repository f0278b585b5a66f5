"""Facts as they happen: GET /stream/{session} as SSE or NDJSON, resumable from any gateway by the stream's sequence.

Nothing is kept here: a fact's id is its sequence in EV, and no more is asked of the broker than the reader can take. A
reader that takes nothing for a while is cut off, and comes back with the last id that it saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

import msgspec
from litestar import Litestar, Response, get
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from gateway.context import Gateway, gateway_of
from gateway.errors import encode_failure, failure_of
from gateway.responses import AnyRequest, header
from runtime.client import Client, Run, StreamReset
from runtime.client.feed import Watcher
from runtime.client.stored import Entry
from runtime.errors import CallFailed, NotConnected
from schemas.runs import RunStatus
from schemas.wire import Fact

ABORT = "troupe.abort"
"""The ASGI extension by which gateway.serve lets a response end its connection at once."""

Format = Literal["sse", "ndjson"]
MEDIA = {"sse": "text/event-stream; charset=utf-8", "ndjson": "application/x-ndjson"}
OPEN_TIMEOUT_S = 5.0
PAGE = 500
LATE_FACTS_S = 2.0
"""How long a stream waits for a result's fact once the result is known."""

_encode = msgspec.json.Encoder().encode


class _Place(msgspec.Struct):
    """The part of a Fact that tells whose it is, and where it stands in the log."""

    type: str
    command: str
    kind: str = ""
    position: str | None = None


class _Page(msgspec.Struct):
    """What the service `session` answers."""

    facts: list[Fact]
    more: bool


class Reset(NamedTuple):
    """Why a stream cannot go on where its reader was, in the words of the event `reset`."""

    reason: str
    after: int
    first: int
    last: int


_decode_place = msgspec.json.Decoder(_Place).decode


class Sink:
    """Writes events to one reader, in its format. Raises Stalled when it takes nothing for `stall_s` seconds."""

    def __init__(self, send: Send, format: Format, stall_s: float) -> None:
        self._send = send
        self._sse = format == "sse"
        self._stall_s = stall_s

    async def facts(self, entries: list[Entry]) -> None:
        """Facts of the stream, with their ids."""
        if self._sse:
            chunk = b"".join([b"id: %d\ndata: %b\n\n" % (entry.sequence, _one_line(entry.body)) for entry in entries])
        else:
            chunk = b"".join([b'{"id":%d,"fact":%b}\n' % (entry.sequence, _one_line(entry.body)) for entry in entries])
        await self.write(chunk)

    async def fact(self, body: bytes) -> None:
        """A fact of the log, which has no id in the stream."""
        body = _one_line(body)
        await self.write(b"data: %b\n\n" % body if self._sse else b'{"fact":%b}\n' % body)

    async def event(self, name: str, data: bytes, id: int | None = None) -> None:
        """One named event; `data` is JSON."""
        data = _one_line(data)
        if self._sse:
            head = b"" if id is None else b"id: %d\n" % id
            await self.write(b"%bevent: %b\ndata: %b\n\n" % (head, name.encode(), data))
        else:
            head = b"" if id is None else b'"id":%d,' % id
            await self.write(b'{%b"event":"%b","data":%b}\n' % (head, name.encode(), data))

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


@get("/stream/{session:path}", summary="Watch a session", media_type=MEDIA["sse"])
async def get_stream(
    request: AnyRequest, session: str, since: str | None = None, format: str | None = None
) -> EventStream:
    """The facts of a session: those the stream still holds (an hour), then each new one.

    SSE, or NDJSON with `Accept: application/x-ndjson` or `?format=ndjson`. `Last-Event-ID`, or `?since=<id>`, goes on
    behind that id; `?since=new` begins with the next fact. When that place is not in the stream any more, an event
    `reset` says why, the session's facts follow from the log (without ids), and an event `live` with an id ends them.
    """
    gateway = gateway_of(request)
    client, _ = await gateway.admit(request)
    name = session.removeprefix("/")
    after = _position(header(request, b"last-event-id") or since)
    kind = format_of(request, format)
    reset: StreamReset | None = None
    reader: Watcher | None = None
    try:
        reader = await gateway.link.watch(client, name, after, OPEN_TIMEOUT_S)
    except StreamReset as told:
        reset = told

    async def produce(sink: Sink) -> None:
        await watch(sink, gateway, client, name, reader, reset)

    return EventStream(gateway, kind, produce, reader)


async def watch(
    sink: Sink,
    gateway: Gateway,
    client: Client,
    session: str,
    reader: Watcher | None,
    reset: StreamReset | None,
) -> None:
    """Writes a session's facts for ever, from an open reader or after a reset."""
    await sink.comment("watching")
    told: dict[str, int] = {}
    while True:
        try:
            if reset is not None:
                place = reset
                reset = None
                await sink.event("reset", _encode(Reset(place.reason, place.after, place.first, place.last)._asdict()))
                told = await _from_log(sink, client, session)
                await sink.event("live", b"{}", id=place.last)
                reader = await gateway.link.watch(client, session, place.last)
            assert reader is not None
            async with aclosing(_batches(reader, gateway.settings.heartbeat_s)) as batches:
                async for entries in batches:
                    if not entries:
                        await sink.comment("heartbeat")
                    elif new := [entry for entry in entries if not told or _is_new(entry, told)]:
                        await sink.facts(new)
        except StreamReset as lost:
            reset = lost
        finally:
            if reader is not None:
                await reader.close()
                reader = None


async def follow_command(
    sink: Sink, reader: Watcher, run: Run, heartbeat_s: float, *, whole: bool = False
) -> None:
    """Writes the facts of one command until its result; with `whole` all that its session is shown meanwhile.

    A repeat of a command that is done has no facts any more: its result is asked for as well.
    """
    settled = asyncio.ensure_future(_settled(run))
    try:
        async with aclosing(_batches(reader, heartbeat_s, settled)) as batches:
            async for entries in batches:
                for entry in entries:
                    place = _decode_place(entry.body)
                    own = place.command == run.command_id
                    if own or whole:
                        await sink.facts([entry])
                    # A message to a session has the id of the run that answers it.
                    if own and place.type in ("result", "error") and place.kind == run.kind:
                        return
                if not entries:
                    await sink.comment("heartbeat")
        await _write_status(sink, run, settled.result())
    except StreamReset as told:
        await sink.event("reset", _encode(Reset(told.reason, told.after, told.first, told.last)._asdict()))
        await _write_status(sink, run, await settled)
    finally:
        settled.cancel()


async def _batches(
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


async def _from_log(sink: Sink, client: Client, session: str) -> dict[str, int]:
    """Writes a session's events, and gives how far they reach: lane → position."""
    after: dict[str, int] = {}
    while True:
        request = {"tenant": client.tenant, "session": session, "after": after, "limit": PAGE}
        page: _Page = await client.service("session", request, type=_Page)
        for fact in page.facts:
            if fact.position is not None:
                lane, position = _place_of(fact.position)
                after[lane] = position
            await sink.fact(_encode(fact))
        if not page.more:
            return after


def _is_new(entry: Entry, told: dict[str, int]) -> bool:
    """Whether a fact was not told from the log: an event that was committed before may come into the stream later."""
    at = _decode_place(entry.body).position
    if at is None:
        return True
    lane, position = _place_of(at)
    return position > told.get(lane, 0)


def _place_of(position: str) -> tuple[str, int]:
    lane, _, number = position.partition(":")
    return lane, int(number)


async def _settled(run: Run) -> RunStatus:
    while True:
        try:
            status = await run.settled(3600.0)
            if status.settled:
                return status
        except (CallFailed, NotConnected):
            await asyncio.sleep(1.0)


async def _write_status(sink: Sink, run: Run, status: RunStatus) -> None:
    document: dict[str, Any] = {"run_id": run.id, "status": status.status}
    if status.error is None:
        document["result"] = status.result
    else:
        document["error"] = status.error
    await sink.event("result", _encode(document))


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


def _position(text: str | None) -> int | Literal["new"]:
    if text is None or text == "":
        return 0
    if text == "new":
        return "new"
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise CallFailed("bad_request", f"{text[:40]!r} is not an id of this stream: send a number, or since=new")
    return int(text)


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


def _one_line(data: bytes) -> bytes:
    """JSON without line breaks, which can only be white space in it."""
    if b"\n" in data or b"\r" in data:
        return data.replace(b"\r", b" ").replace(b"\n", b" ")
    return data
