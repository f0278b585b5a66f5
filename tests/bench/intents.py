"""A process that posts intents: `python -m tests.bench.intents '<Load as JSON>'`; answers with a Tally.

HTTP/1.1 over kept-alive connections, written by hand: Python's HTTP clients need more time for a request than the
gateway does, and would be what is measured.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from tests.bench.tally import Load, Tally, drive, tell, told

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_OK = b"HTTP/1.1 200 "


class Poster(asyncio.Protocol):
    """One connection, with one request in flight."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._answer: asyncio.Future[bytes] | None = None
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the gateway closed the connection"))

    async def post(self, key: str) -> bool:
        """Posts an addition and waits for its result; false when the answer is not 200."""
        body = b'{"kind":"counter","key":"%b","method":"add","args":{"amount":1}}' % key.encode()
        return await self.send("/intent", body)

    async def send(self, path: str, body: bytes) -> bool:
        """Posts JSON and waits for the answer; false when it is not 200."""
        return (await self._exchange("POST", path, body)).startswith(_OK)

    async def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """The body of the answer. Raises ConnectionError when it is not 200."""
        answer = await self._exchange(method, path, b"" if body is None else msgspec.json.encode(body))
        if not answer.startswith(_OK):
            raise ConnectionError(f"{method} {path} was answered with {answer[:1000]!r}")
        return answer.partition(b"\r\n\r\n")[2]

    def close(self) -> None:
        """Closes the connection."""
        assert self._transport is not None
        self._transport.close()

    async def _exchange(self, method: str, path: str, body: bytes) -> bytes:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(
            b"%b %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (method.encode(), path.encode(), self._host.encode(), len(body), body)
        )
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        received = self._received = self._received + data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(received, 0, end + 2)
        assert length is not None, "the gateway did not say how long its answer is"
        if len(received) < end + 4 + int(length[1]):
            return
        self._received = b""
        assert self._answer is not None
        self._answer.set_result(received)


async def connected(url: str) -> Poster:
    """A connection to the server of a URL."""
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    loop = asyncio.get_running_loop()
    _, poster = await loop.create_connection(lambda: Poster(where.netloc), where.hostname, where.port)
    return poster


async def run(load: Load) -> Tally:
    """Posts until the measurement is over."""
    posters = [await connected(load.target) for _ in range(load.in_flight)]
    tally = await drive(load, [poster.post for poster in posters])
    for poster in posters:
        poster.close()
    return tally


if __name__ == "__main__":
    tell(uvloop.run(run(told())))
