"""Publishing that the broker acknowledges: what is acknowledged is as durable as the broker."""

from __future__ import annotations

import asyncio

from runtime.client.acknowledgement import Outcome, outcome_of
from runtime.client.connection import Connection
from runtime.client.inbox import Inbox
from runtime.errors import CallFailed, NotConnected, TroupeError

ATTEMPT_S = 5.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


async def store(
    connection: Connection, inbox: Inbox, subject: str, body: bytes, header_block: bytes, *, id: str, timeout_s: float
) -> int:
    """Publishes until the broker has stored the message, and returns its stream sequence.

    A message without an acknowledgement is sent again, so it may be stored twice: its id makes that harmless. Raises
    CallFailed (stream_full, too_large, unavailable, timeout) or NotConnected.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    pause_s = FIRST_PAUSE_S
    trouble: TroupeError | None = None
    while (remaining := deadline - loop.time()) > 0:
        if not await connection.wait_connected(remaining):
            trouble = NotConnected(f"NATS cannot be reached; message {id!r} to {subject} is not known to be stored")
            break
        outcome = await _attempt(connection, inbox, subject, body, header_block, id, min(ATTEMPT_S, remaining))
        if outcome is None:
            continue
        if outcome.error is None:
            return outcome.sequence
        if not outcome.passing:
            raise outcome.error
        trouble = outcome.error
        await asyncio.sleep(min(pause_s, max(deadline - loop.time(), 0)))
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
    raise trouble or CallFailed(
        "timeout", f"the broker did not acknowledge message {id!r} to {subject} in time", details={"id": id}
    )


async def _attempt(
    connection: Connection, inbox: Inbox, subject: str, body: bytes, header_block: bytes, id: str, timeout_s: float
) -> Outcome | None:
    """None when nothing came back in time, or the connection broke meanwhile."""
    answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def receive(header: bytes, data: bytes) -> None:
        if not answer.done():
            answer.set_result(outcome_of(subject, id, header, data))

    def broken() -> None:
        # The acknowledgement may have been lost with the old connection: waiting for it would be waiting for nothing.
        answer.cancel()

    target = inbox.expect(receive)
    connection.resumed.add(broken)
    try:
        connection.post(subject, body, header_block, target)
        done, _ = await asyncio.wait((answer,), timeout=timeout_s)
        return answer.result() if done and not answer.cancelled() else None
    finally:
        connection.resumed.discard(broken)
        inbox.forget(target)
