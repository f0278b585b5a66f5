"""Facts as they happen: GET /stream/{session} as SSE or NDJSON, resumable from any gateway by the stream's sequence.

Nothing is kept here: a fact's id is its sequence in EV, and no more is asked of the broker than the reader can take. A
reader that takes nothing for a while is cut off, and comes back with the last id that it saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

import msgspec
from litestar import get

from gateway.context import Gateway, gateway_of
from gateway.following import Followed
from gateway.responses import AnyRequest, header
from gateway.sinks import MEDIA, EventStream, Sink, batches, format_of
from runtime.client import Client, Run, StreamReset
from runtime.client.feed import Watcher
from runtime.client.stored import Entry
from runtime.errors import CallFailed, NotConnected
from schemas.runs import RunStatus
from schemas.wire import Fact

OPEN_TIMEOUT_S = 5.0
PAGE = 500

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


@get("/stream/{session:path}", summary="Watch a session", media_type=MEDIA["sse"])
async def get_stream(
    request: AnyRequest,
    session: str,
    since: str | None = None,
    format: str | None = None,
    protocol: str | None = None,
) -> EventStream:
    """The facts of a session: those the stream still holds (an hour), then each new one, and what its runs show.

    SSE, or NDJSON with `Accept: application/x-ndjson` or `?format=ndjson`; as a WebSocket, NDJSON's objects, a message
    each. `Last-Event-ID`, or `?since=<id>`, goes on behind that id; `?since=new` begins with the next fact. When that
    place is not in the stream any more, an event `reset` says why, the session's facts follow from the log (without
    ids), and an event `live` with an id ends them.

    With `?protocol=agui` the same as AG-UI's events (docs/streams.md).
    """
    gateway = gateway_of(request)
    client, _ = await gateway.admit(request)
    after = position(header(request, b"last-event-id") or since)
    kind = format_of(request, format)
    produce, reader = await opened(gateway, client, session.removeprefix("/"), after, protocol)
    return EventStream(gateway, kind, produce, reader)


async def opened(
    gateway: Gateway, client: Client, session: str, after: int | Literal["new"], protocol: str | None
) -> tuple[Callable[[Sink], Awaitable[None]], Watcher | None]:
    """What writes a session's stream, and its reader if there is one yet. Raises CallFailed and NotConnected."""
    if protocol == "agui":
        followed = Followed(gateway, client, session)
        opened_at, behind = await followed.reader(after, OPEN_TIMEOUT_S)

        async def translate(sink: Sink) -> None:
            await sink.comment("watching")
            await followed.through(sink, opened_at, behind, joins=after == "new")

        return translate, opened_at
    if protocol is not None:
        raise CallFailed("bad_request", f"protocol {protocol[:40]!r} is not known: use agui, or none for facts")
    reset: StreamReset | None = None
    reader: Watcher | None = None
    try:
        reader = await gateway.link.watch(client, session, after, OPEN_TIMEOUT_S)
    except StreamReset as told:
        reset = told

    async def produce(sink: Sink) -> None:
        await watch(sink, gateway, client, session, reader, reset)

    return produce, reader


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
            async with aclosing(batches(reader, gateway.settings.heartbeat_s)) as found:
                async for entries in found:
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
        async with aclosing(batches(reader, heartbeat_s, settled)) as found:
            async for entries in found:
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


def position(text: str | None) -> int | Literal["new"]:
    """The id behind which a reader goes on; 0 for the beginning. Raises CallFailed."""
    if text is None or text == "":
        return 0
    if text == "new":
        return "new"
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise CallFailed("bad_request", f"{text[:40]!r} is not an id of this stream: send a number, or since=new")
    return int(text)
