"""The connection to the broker: made in the background, so that a gateway starts without one, and kept for good."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from runtime.client import Client
from runtime.client.failures import address_checked
from runtime.client.feed import Feed, Watcher
from runtime.errors import NotConnected
from schemas import subjects

CONNECT_TIMEOUT_S = 2.0
PAUSE_S = 0.5
WAIT_S = 2.0
WATCH_TIMEOUT_S = 10.0

_log = logging.getLogger("troupe.gateway")


class Link:
    """One connection, with a client for each tenant."""

    def __init__(self, nats_url: str, signing_key: bytes | None) -> None:
        self._url = nats_url
        self._signing_key = signing_key
        self._base: Client | None = None
        self._feed: Feed | None = None
        self._clients: dict[str, Client] = {}
        self._opening = asyncio.Lock()
        self._made = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to connect."""
        self._task = asyncio.ensure_future(self._connect())

    async def close(self) -> None:
        """Ends the connection and what is in flight on it."""
        if self._task is not None:
            self._task.cancel()
        for client in self._clients.values():
            if client is not self._base:
                await client.close()
        if self._base is not None:
            await self._base.close()

    def give_up(self) -> None:
        """Ends the waiting of all requests in flight."""
        for client in self._clients.values():
            client.give_up()

    def get(self, tenant: str) -> Client | None:
        """The tenant's client, if it is there already."""
        return self._clients.get(tenant)

    async def client(self, tenant: str, wait_s: float = WAIT_S) -> Client:
        """The tenant's client. Raises NotConnected when no connection was ever made, nor is within `wait_s` seconds."""
        found = self._clients.get(tenant)
        if found is not None:
            return found
        try:
            async with asyncio.timeout(wait_s):
                await self._made.wait()
        except TimeoutError:
            raise NotConnected("the gateway has not reached NATS yet; it goes on trying") from None
        async with self._opening:
            found = self._clients.get(tenant)
            if found is None:
                assert self._base is not None
                found = self._clients[tenant] = await self._base.for_tenant(tenant)
            return found

    async def watch(
        self, client: Client, session: str, after: int | Literal["new"], timeout_s: float = WATCH_TIMEOUT_S
    ) -> Watcher:
        """Watches a session of the client's tenant. Raises as Feed.watch does, and CallFailed for a bad name."""
        with address_checked():
            subject = subjects.events(client.tenant, session)
        assert self._feed is not None, "there is a client, and so a connection"
        return await self._feed.watch(subject, after, timeout_s=timeout_s)

    async def _connect(self) -> None:
        told = False
        while True:
            try:
                self._base = await Client.connect(
                    self._url,
                    "default",
                    name="troupe-gateway",
                    connect_timeout_s=CONNECT_TIMEOUT_S,
                    signing_key=self._signing_key,
                )
                break
            except NotConnected as error:
                if not told:
                    _log.warning("%s; trying on", error)
                    told = True
                await asyncio.sleep(PAUSE_S)
        self._clients["default"] = self._base
        self._feed = self._base.feed()
        self._made.set()
