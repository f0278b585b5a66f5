"""What a run yields (runtime.yields), as it is committed, for any process: read from its actor's log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.client.failures import decode_as, error_of
from runtime.client.tail import PAGE, LogPage
from runtime.errors import CallFailed, NotConnected
from schemas.runs import RunStatus
from schemas.wire import LogEvent

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.client.runs import Run

STEP = "troupe.step"
YIELD = "$yield"
AGAIN_S = 0.5


class _Entry(msgspec.Struct):
    step: str
    occurrence: int
    result: msgspec.Raw = msgspec.Raw(b"null")


_decode_entry = msgspec.json.Decoder(_Entry).decode
_decode_values = msgspec.json.Decoder(list[msgspec.Raw]).decode


async def values(client: Client, run: Run, after: int, type: Any) -> AsyncGenerator[tuple[int, Any], None]:
    """See Client.values."""
    settled = asyncio.ensure_future(_settled(run))
    try:
        async with aclosing(_events(client, run, settled)) as events:
            async for event in events:
                for number, value in _of(event, run):
                    if number >= after:
                        after = number + 1
                        yield number, decode_as(value, type)
        status = await settled
    finally:
        settled.cancel()
    if status.error is not None:
        raise error_of(status.error)


async def _events(client: Client, run: Run, settled: asyncio.Future[RunStatus]) -> AsyncGenerator[LogEvent, None]:
    """The actor's events up to the run's end."""
    last = 0
    async with aclosing(client.tail(run.kind, run.key)) as events, aclosing(_until(events, settled)) as live:
        async for event in live:
            last = event.seq
            yield event
    end = (await settled).seq
    while last < end:  # the notice of a commit may be lost
        question = {"tenant": client.tenant, "kind": run.kind, "key": run.key, "from_seq": last + 1, "limit": PAGE}
        page: LogPage = await client.service("log", question, type=LogPage)
        for event in page.events:
            yield event
        last = page.events[-1].seq if page.events else end


def _of(event: LogEvent, run: Run) -> list[tuple[int, msgspec.Raw]]:
    if event.type != STEP or event.command_id != run.command_id:
        return []
    entry = _decode_entry(event.payload)
    if entry.step != YIELD:
        return []
    return list(enumerate(_decode_values(entry.result), entry.occurrence))


async def _until(
    events: AsyncGenerator[LogEvent, None], settled: asyncio.Future[RunStatus]
) -> AsyncGenerator[LogEvent, None]:
    """Events until the run is settled."""
    following: asyncio.Future[LogEvent] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(events))
            await asyncio.wait((following, settled), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                return
            event, following = following.result(), None
            yield event
    finally:
        if following is not None:
            following.cancel()
            await asyncio.wait([following])


async def _settled(run: Run) -> RunStatus:
    while True:
        try:
            status = await run.settled(3600.0)
            if status.settled:
                return status
        except NotConnected:
            await asyncio.sleep(AGAIN_S)
        except CallFailed as error:
            if error.code not in ("unavailable", "timeout"):
                raise
            await asyncio.sleep(AGAIN_S)
