"""A session's stream as a WebSocket: the objects of NDJSON, a message each."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketException

from gateway.context import Gateway
from gateway.errors import encode_failure, failure_of
from gateway.responses import AnyRequest, header
from gateway.sinks import SocketSink, Stalled
from gateway.streams import opened, position
from runtime.errors import CallFailed

REFUSED = 1008
GOING = 1001
FAILED = 1011


@websocket("/stream/{session:path}")
async def socket_stream(
    socket: WebSocket[Any, Any, Any], session: str, since: str | None = None, protocol: str | None = None
) -> None:
    """See gateway.streams.get_stream. What is wrong is said by an event `error`, before the socket is closed."""
    gateway: Gateway = socket.app.state.gateway
    await socket.accept()
    sink, reader, code = SocketSink(socket.send_text, gateway.settings.stall_s), None, GOING
    jobs: list[asyncio.Future[Any]] = []
    try:
        request: AnyRequest = socket  # type: ignore[assignment]  # of both, the scope's headers are all that is read
        _check_origin(request)
        client, _ = await gateway.admit(request)
        after = position(header(request, b"last-event-id") or since)
        produce, reader = await opened(gateway, client, session.removeprefix("/"), after, protocol)
        jobs += [
            asyncio.ensure_future(produce(sink)),
            asyncio.ensure_future(gateway.stopping.wait()),
            asyncio.ensure_future(_gone(socket)),
        ]
        await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        if jobs[0].done():
            await jobs[0]
    except Stalled:
        code = REFUSED
    except WebSocketException:
        return  # the reader is gone
    except Exception as error:  # noqa: BLE001  # whatever it is, the reader is told
        code = REFUSED if isinstance(error, CallFailed) else FAILED
        await sink.event("error", encode_failure(failure_of(error)))
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        if reader is not None:
            await reader.close()
    if socket.connection_state != "disconnect":
        await socket.close(code)


def _check_origin(request: AnyRequest) -> None:
    """A browser lets any page open a socket, and says which page it was."""
    origin = header(request, b"origin")
    if origin is not None and urlsplit(origin).netloc.lower() != (header(request, b"host") or "").lower():
        raise CallFailed("forbidden", f"a page of {origin[:100]!r} may not watch this gateway's sessions")


async def _gone(socket: WebSocket[Any, Any, Any]) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
