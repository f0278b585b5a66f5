"""Whether more of a tenant may be sent: pods say how much of it waits (schemas.backlog)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import msgspec
from nats.aio.subscription import Subscription

from runtime.client.connection import Connection
from runtime.errors import CallFailed
from schemas.backlog import BELIEVED_S, Backlog
from schemas.control import METHODS, START
from schemas.subjects import backlog

LONGEST_RETRY_S = 60

_log = logging.getLogger("troupe.client")
_decode = msgspec.json.Decoder(Backlog).decode


class Quota:
    """What one client knows of its tenant's backlog. `now` gives monotonic seconds.

    Attributes:
        full: whether as much waits as may, by what was heard last; `check` looks whether that still counts.
    """

    def __init__(self, connection: Connection, tenant: str, now: Callable[[], float]) -> None:
        self._connection = connection
        self._tenant = tenant
        self._now = now
        self._heard: dict[str, tuple[Backlog, float]] = {}
        self._drained_per_s = 0.0
        self._subscription: Subscription | None = None
        self.full = False

    async def open(self) -> None:
        """Begins to listen."""
        self._subscription = await self._connection.subscribe_direct(backlog(self._tenant), self.hear)

    async def close(self) -> None:
        """Listens no more."""
        if self._subscription is not None and not self._connection.is_closed:
            await self._subscription.unsubscribe()

    def hear(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        """A pod's word."""
        try:
            word = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            _log.warning("what was said on %s is not readable: %r", subject, body[:200])
            return
        now = self._now()
        before = self._heard.get(word.pod)
        if before is not None and now > before[1]:
            self._drained_per_s = max(0.0, (before[0].waiting - word.waiting) / (now - before[1]))
        self._heard[word.pod] = (word, now)
        self.full = self._excess(now) >= 0

    def check(self, subject: str) -> None:
        """Raises CallFailed (too_many_requests) when a command to `subject` must wait.

        What is said to runs that go on may pass: else nobody could cancel what there is too much of.
        """
        method = subject.rsplit(".", 1)[1]
        if method in METHODS and method != START:
            return
        excess = self._excess(self._now())
        if excess < 0:
            self.full = False
            return
        words = [word for word, _ in self._heard.values()]
        waiting, limit = sum([word.waiting for word in words]), max([word.limit for word in words])
        rate = max(self._drained_per_s * len(words), limit / LONGEST_RETRY_S, 1.0)
        retry_after_s = min(LONGEST_RETRY_S, max(1, math.ceil(excess / rate)))
        raise CallFailed(
            "too_many_requests",
            f"{waiting} commands of tenant {self._tenant!r} wait and {limit} may (RUNTIME_TENANT_BACKLOG of the pods): "
            f"nothing was sent; try again in {retry_after_s} s",
            details={"retry_after_s": retry_after_s, "waiting": waiting, "limit": limit},
        )

    def _excess(self, now: float) -> int:
        """How much more waits than may; negative while more may come."""
        self._heard = {pod: heard for pod, heard in self._heard.items() if now - heard[1] < BELIEVED_S}
        limit = max([word.limit for word, _ in self._heard.values()], default=0)
        return sum([word.waiting for word, _ in self._heard.values()]) - limit if limit else -1
