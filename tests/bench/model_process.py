"""A stand-in for a model's server that costs next to nothing: `python -m tests.bench.model_process`; prints its URL.

Whoever has not been told a tool's result is told to call the tool, if there is one; all others get a text of as many
pieces as the model's name says (`words-16`). A model named `timed-…` says in each piece when it left (Unix seconds).

Written by hand over a socket, as tests.bench.intents is: a web framework takes more time for a request than is to be
measured.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from typing import Any, cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_MODEL = re.compile(rb'"model": ?"(words|timed)-(\d+)"')
_STREAM = re.compile(rb'"stream": ?true')
_TOOL = re.compile(rb'"tools": ?\[\{.*?"name": ?"(\w+)"')
_TOLD = re.compile(rb'"role": ?"tool"')

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n"
WORD = "word "
GAP_S = 0.05
"""Between the pieces of a model that says when they left."""


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One event of a stream, framed as a chunk of HTTP."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _framed({"choices": [choice]})


def _framed(part: dict[str, Any]) -> bytes:
    whole = {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": "stand-in"} | part
    event = b"data: " + json.dumps(whole, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


USAGE = {"prompt_tokens": 50, "completion_tokens": 16, "total_tokens": 66}
END = _framed({"choices": [], "usage": USAGE}) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
STREAM = HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n"
BEGIN = chunk({"role": "assistant", "content": ""})
PIECE = chunk({"content": WORD})


def _called(name: str) -> dict[str, Any]:
    return {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": '{"item":"lamp"}'}}


def streamed(pieces: int, tool: str | None) -> bytes:
    """An answer in pieces, as it goes over the wire."""
    if tool is not None:
        return STREAM + BEGIN + chunk({"tool_calls": [_called(tool)]}) + chunk({}, "tool_calls") + END
    return STREAM + BEGIN + PIECE * pieces + chunk({}, "stop") + END


def whole(pieces: int, tool: str | None) -> bytes:
    """The same in one."""
    message: dict[str, Any] = {"role": "assistant", "content": WORD * pieces}
    if tool is not None:
        message = {"role": "assistant", "content": "", "tool_calls": [_called(tool)]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tool is not None else "stop"}
    answer = {"id": "c1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": USAGE}
    body = json.dumps(answer).encode()
    return HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Answering(asyncio.Protocol):
    """One connection, with one request after the other. `made` holds what was answered before."""

    def __init__(self, made: dict[tuple[bool, int, str | None], bytes]) -> None:
        self._made = made
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._timed: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        received = self._received = self._received + data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(received, 0, end + 2)
        body_end = end + 4 + (int(length[1]) if length is not None else 0)
        if len(received) >= body_end:
            self._received = received[body_end:]
            self._answer(received[end + 4 : body_end])

    def _answer(self, body: bytes) -> None:
        assert self._transport is not None
        model = _MODEL.search(body)
        assert model is not None, "the model's name says how much it says"
        pieces = int(model[2])
        if model[1] == b"timed":
            self._timed = asyncio.ensure_future(self._say_when(pieces))
            return
        tool = None if _TOLD.search(body) else _TOOL.search(body)
        name = None if tool is None else tool[1].decode()
        wanted = bool(_STREAM.search(body)), pieces, name
        if wanted not in self._made:
            self._made[wanted] = (streamed if wanted[0] else whole)(pieces, name)
        self._transport.write(self._made[wanted])

    async def _say_when(self, pieces: int) -> None:
        assert self._transport is not None
        self._transport.write(STREAM + BEGIN)
        for _ in range(pieces):
            await asyncio.sleep(GAP_S)
            self._transport.write(chunk({"content": f"{time.time():.6f} "}))
        self._transport.write(chunk({}, "stop") + END)


async def serve() -> None:
    """Serves until the process is told to end."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    made: dict[tuple[bool, int, str | None], bytes] = {}
    server = await loop.create_server(lambda: Answering(made), "127.0.0.1", 0)
    print(json.dumps({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"}), flush=True)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
