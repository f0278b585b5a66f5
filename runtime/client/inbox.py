"""What comes back to one client: replies to commands, acknowledgements of the broker, answers of pods.

    _INBOX.<tenant>.<nonce>            replies to commands whose ids this client made, many in one message
    _INBOX.<tenant>.<nonce>.<number>   the answer to one request

Two subscriptions for the life of the client, whatever it asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.subscription import Subscription

from runtime.client.connection import Connection
from schemas.subjects import inbox_prefix

Receiver = Callable[[bytes, bytes], None]
"""(header block, body) of one message. Must not wait and must not raise."""

_NO_RESPONDERS = b"NATS/1.0 503"


class NoResponders(Exception):
    """Nobody listens on the subject now."""


class Inbox:
    """The inbox of one client. `replies` gets the body of each message on the shared subject."""

    def __init__(self, connection: Connection, tenant: str, nonce: str, replies: Callable[[bytes], None]) -> None:
        self._connection = connection
        self._replies = replies
        self._receivers: dict[str, Receiver] = {}
        self._number = 0
        self._subscriptions: list[Subscription] = []
        self.subject = f"{inbox_prefix(tenant)}.{nonce}"

    async def open(self) -> None:
        """Subscribes. What is published afterwards on this connection can be answered."""
        self._subscriptions = [
            await self._connection.subscribe_direct(self.subject, self._on_shared),
            await self._connection.subscribe_direct(f"{self.subject}.*", self._on_single),
        ]

    async def close(self) -> None:
        """Unsubscribes."""
        if not self._connection.is_closed:
            for subscription in self._subscriptions:
                await subscription.unsubscribe()

    def expect(self, receiver: Receiver) -> str:
        """A new subject; `receiver` gets what arrives there until `forget`."""
        self._number += 1
        subject = f"{self.subject}.{self._number}"
        self._receivers[subject] = receiver
        return subject

    def forget(self, subject: str) -> None:
        """Ends what `expect` began."""
        self._receivers.pop(subject, None)

    async def request(self, subject: str, body: bytes, header_block: bytes = b"", *, timeout_s: float) -> bytes:
        """The body of the first answer to one message.

        Raises NoResponders, TimeoutError, or NotConnected.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def receive(headers: bytes, data: bytes) -> None:
            if answer.done():
                return
            if headers.startswith(_NO_RESPONDERS):
                answer.set_exception(NoResponders(subject))
            else:
                answer.set_result(data)

        target = self.expect(receive)
        try:
            self._connection.post(subject, body, header_block, target)
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            self.forget(target)

    def _on_shared(self, subject: str, reply: str, data: bytes, headers: bytes) -> None:
        self._replies(data)

    def _on_single(self, subject: str, reply: str, data: bytes, headers: bytes) -> None:
        receiver = self._receivers.get(subject)
        if receiver is not None:
            receiver(headers, data)
