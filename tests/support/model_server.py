"""A stand-in for a model's server, with the HTTP interface that OpenAI's has: scripted, and it counts its calls.

    with ModelServer() as server:
        server.script(Says("Hello"), Calls("add", '{"a": 1}'), Fails(429, retry_after="1"), BreaksOff("Hel"))
        ... "api_base": server.url ...
        assert server.calls == 4
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self

import uvicorn
from msgspec import Struct

from tests.support.vectors import vector_of

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Says(Struct, frozen=True):
    """A text, in pieces of so many characters."""

    text: str
    piece: int = 4


class Calls(Struct, frozen=True):
    """A call of a tool, its arguments in two pieces."""

    name: str
    arguments: str = "{}"


class Fails(Struct, frozen=True):
    """An answer with an error's status."""

    status: int
    retry_after: str | None = None


class BreaksOff(Struct, frozen=True):
    """Half a message, and the connection is closed."""

    text: str


class Garbage(Struct, frozen=True):
    """Status 200, and what is no answer."""

    body: str = "data: {not json\n\n"


class Hangs(Struct, frozen=True):
    """No answer, until the caller goes away."""


class Holds(Struct, frozen=True):
    """A text, whose end comes once `released` says so, or never if the caller goes away."""

    text: str
    released: Callable[[], bool]
    piece: int = 4


class Stops(Struct, frozen=True):
    """A proper end without anything before it."""


Reply = Says | Calls | Fails | BreaksOff | Garbage | Hangs | Holds | Stops


class ModelServer:
    """Serves in a thread of its own, on a free port of the loopback."""

    def __init__(self) -> None:
        self._script: deque[Reply] = deque()
        self.requests: list[dict[str, Any]] = []
        """The bodies of what was asked."""
        self.embedded = 0
        """How often vectors were asked for."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        config = uvicorn.Config(
            self._serve, interface="asgi3", log_level="critical", lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.requests)

    def script(self, *replies: Reply) -> None:
        """What it answers next, in order; after that it says `nothing more is scripted`."""
        self._script.extend(replies)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    async def _serve(self, scope: Any, receive: Any, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"].endswith("/embeddings"):
            await self._embed(json.loads(body), send)
            return
        self.requests.append(json.loads(body))
        reply = self._script.popleft() if self._script else Says("nothing more is scripted")
        if isinstance(reply, Hangs):
            while (await receive())["type"] != "http.disconnect":
                await asyncio.sleep(0)
            return
        if isinstance(reply, Fails):
            headers = [(b"retry-after", reply.retry_after.encode())] if reply.retry_after is not None else []
            await self._start(send, reply.status, headers)
            error = json.dumps({"error": {"message": f"scripted {reply.status}", "type": "scripted"}})
            await send({"type": "http.response.body", "body": error.encode()})
            return
        await self._start(send, 200, [], "text/event-stream")
        for event in _events(reply):
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        if isinstance(reply, Holds):
            gone = asyncio.ensure_future(_gone(receive))
            while not (reply.released() or gone.done()):
                await asyncio.sleep(0.01)
            gone.cancel()
            for event in _end(reply):
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        if isinstance(reply, BreaksOff):
            raise ConnectionResetError("scripted: the connection ends here")
        await send({"type": "http.response.body", "body": b""})

    async def _embed(self, asked: dict[str, Any], send: Send) -> None:
        self.embedded += 1
        vectors = [vector_of(text) for text in asked["input"]]
        rows = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        answer = {"object": "list", "data": rows, "model": asked["model"], "usage": usage}
        await self._start(send, 200, [])
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    @staticmethod
    async def _start(
        send: Send, status: int, headers: list[tuple[bytes, bytes]], kind: str = "application/json"
    ) -> None:
        given = [(b"content-type", kind.encode()), *headers]
        await send({"type": "http.response.start", "status": status, "headers": given})


def _events(reply: Reply) -> Iterator[str]:
    if isinstance(reply, Garbage):
        yield reply.body
        return
    text, piece = (reply.text, getattr(reply, "piece", 4)) if isinstance(reply, (Says, BreaksOff, Holds)) else ("", 1)
    yield _event({"role": "assistant", "content": ""})
    for at in range(0, len(text), piece):
        yield _event({"content": text[at : at + piece]})
    if isinstance(reply, Calls):
        half = len(reply.arguments) // 2
        head = {"index": 0, "id": "call_1", "type": "function"}
        yield _event({"tool_calls": [head | {"function": {"name": reply.name, "arguments": reply.arguments[:half]}}]})
        yield _event({"tool_calls": [{"index": 0, "function": {"arguments": reply.arguments[half:]}}]})
    if not isinstance(reply, (BreaksOff, Holds)):
        yield from _end(reply)


def _end(reply: Reply) -> Iterator[str]:
    yield _event({}, "tool_calls" if isinstance(reply, Calls) else "stop")
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    yield f"data: {json.dumps(_chunk([]) | {'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(delta: dict[str, Any], finish: str | None = None) -> str:
    return f"data: {json.dumps(_chunk([{'index': 0, 'delta': delta, 'finish_reason': finish}]))}\n\n"


def _chunk(choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": "stand-in", "choices": choices}
