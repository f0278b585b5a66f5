"""What the broker knows of its streams, asked through a client's connection."""

from __future__ import annotations

import nats.errors
from nats.js.errors import Error as JetStreamError

from runtime.client.connection import Connection
from runtime.errors import CallFailed


async def last_sequence(connection: Connection, stream: str, *, timeout_s: float) -> int:
    """The sequence of the stream's last message, 0 for one that never had any. Raises CallFailed (unavailable)."""
    try:
        return (await connection.jetstream(timeout=timeout_s).stream_info(stream)).state.last_seq
    except (nats.errors.Error, JetStreamError, OSError, TimeoutError) as error:
        raise CallFailed(
            "unavailable", f"the broker says nothing of stream {stream} ({error!r}): a pod makes it when it starts"
        ) from error
