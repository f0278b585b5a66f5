"""A caller over HTTP: the same request again, at another gateway, until one of them answers it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import msgspec

from schemas.address import Address
from schemas.wire import Failure, Reply

WAIT_S = 5.0
SILENCE_S = 8.0
"""Longer than a gateway waits for a result, and than the signs of life of a stream are apart."""

PAUSE_S = 0.1
_PUT_OFF = (202, 408, 429, 502, 503, 504)

_decode_reply = msgspec.json.Decoder(Reply).decode


class _Error(msgspec.Struct):
    error: Failure


_decode_error = msgspec.json.Decoder(_Error).decode


class Event(NamedTuple):
    """One event of a stream: its id if it has one, its name (`message` for facts) and its data as JSON."""

    id: int | None
    name: str
    data: str


class Web:
    """Calls actors through gateways, each tenant with its API key."""

    def __init__(self, urls: Sequence[str], api_keys: Mapping[str, str]) -> None:
        self._urls = list(urls)
        self._headers = {tenant: {"authorization": f"Bearer {key}"} for tenant, key in api_keys.items()}
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
        self._http = httpx.AsyncClient(timeout=SILENCE_S, trust_env=False, limits=limits)
        self._turn = 0

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def call(
        self,
        address: Address,
        method: str,
        body: bytes,
        id_: str,
        timeout_s: float,
        session: str = "",
        *,
        as_header: bool = False,
    ) -> Reply:
        """The reply to one command; `as_header` gives its id as Idempotency-Key, and then the reply's is another.

        Raises TimeoutError when no gateway answered within `timeout_s` seconds.
        """
        tenant, kind, key = address
        asked: dict[str, Any] = {"kind": kind, "key": key, "method": method, "wait_s": WAIT_S}
        asked["args"] = msgspec.Raw(body)
        if session:
            asked["session"] = session
        headers = {**self._headers[tenant], "content-type": "application/json"}
        if as_header:
            headers["idempotency-key"] = id_
        else:
            asked["id"] = id_
        content = msgspec.json.encode(asked)
        end = time.monotonic() + timeout_s
        while True:
            try:
                answer = await self._http.post(f"{self.next_url()}/intent", content=content, headers=headers)
            except (httpx.TransportError, OSError):
                pass
            else:
                if answer.status_code == 200:
                    return _decode_reply(answer.content)
                if answer.status_code not in _PUT_OFF:
                    return Reply(id_, error=_decode_error(answer.content).error)
            if time.monotonic() > end:
                raise TimeoutError(f"no gateway answered {id_}")
            await asyncio.sleep(PAUSE_S)

    @asynccontextmanager
    async def stream(self, tenant: str, session: str, after: int) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of a session behind `after`, from one of the gateways.

        Raises httpx.HTTPError when it cannot be had, or ends.
        """
        headers = {**self._headers[tenant], "accept": "text/event-stream"}
        if after:
            headers["last-event-id"] = str(after)
        url = f"{self.next_url()}/stream/{quote(session, safe='')}"
        async with self._http.stream("GET", url, headers=headers) as response:
            response.raise_for_status()
            yield _events(response)

    def next_url(self) -> str:
        """One gateway after the other."""
        self._turn += 1
        return self._urls[self._turn % len(self._urls)]


async def _events(response: httpx.Response) -> AsyncIterator[Event]:
    id_: int | None = None
    name, data = "message", ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if not line:
            if data:
                yield Event(id_, name, data)
            id_, name, data = None, "message", ""
        elif field == "id":
            id_ = int(value)
        elif field == "event":
            name = value
        elif field == "data":
            data = value
