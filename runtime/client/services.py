"""Requests that pods answer at once over core NATS: services (`svc.<name>`) and queries (`q.<partition>…`).

They change nothing, so a lost one is simply asked again. Nobody listening means that an owner is moving or that no pod
runs: that is worth a short wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec

from runtime.client.connection import Connection
from runtime.client.failures import error_of
from runtime.client.inbox import Inbox, NoResponders
from runtime.client.large import LargeReplies
from runtime.errors import CallFailed, NotConnected
from schemas.wire import Reply

ATTEMPT_S = 5.0
FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5

_decode = msgspec.json.Decoder(Reply).decode
_log = logging.getLogger("troupe.client")


class Services:
    """Requests of one client."""

    def __init__(self, connection: Connection, inbox: Inbox, large: LargeReplies) -> None:
        self._large = large
        self._connection = connection
        self._inbox = inbox

    async def request(
        self,
        subject: str | Callable[[], Awaitable[str]],
        body: bytes,
        what: str,
        *,
        timeout_s: float,
        attempt_s: float = ATTEMPT_S,
        header_block: bytes = b"",
        unanswered: Callable[[], Awaitable[None]] | None = None,
    ) -> Reply:
        """The answer to a request, which has no error in it.

        Args:
            subject: where to, or what finds it out anew for every attempt.
            what: the thing asked for, for errors.
            attempt_s: seconds after which a silent request is made again.
            unanswered: called when nobody listens; may raise the error that explains it.

        Raises Rejected or CallFailed as answered; CallFailed (unavailable) when nobody answers within `timeout_s`
        seconds; NotConnected when the broker cannot be reached.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        pause_s = FIRST_PAUSE_S
        trouble: CallFailed | None = None
        while (remaining := deadline - loop.time()) > 0:
            if not await self._connection.wait_connected(remaining):
                raise NotConnected(f"NATS cannot be reached: {what} was not answered")
            try:
                target = subject if isinstance(subject, str) else await subject()
                remaining = max(deadline - loop.time(), 0.001)
                answer = await self._inbox.request(target, body, header_block, timeout_s=min(attempt_s, remaining))
                reply = await self._large.whole(_decoded(answer, what))
                if reply.error is not None:
                    raise error_of(reply.error)
                return reply
            except TimeoutError:
                continue
            except CallFailed as error:
                if error.code != "unavailable":
                    raise
                trouble = error  # the pod asked was not the owner any more, or has lost its database
                await asyncio.sleep(min(pause_s, max(deadline - loop.time(), 0)))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            except NoResponders:
                if unanswered is not None and pause_s >= LONGEST_PAUSE_S:
                    await unanswered()
                await asyncio.sleep(min(pause_s, max(deadline - loop.time(), 0)))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        raise trouble or CallFailed(
            "unavailable", f"no pod answered {what} within {timeout_s:g} s: see that pods run and are ready"
        )


def _decoded(answer: bytes, what: str) -> Reply:
    try:
        return _decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallFailed("bad_result", f"the answer to {what} is not a reply: {error}") from error
