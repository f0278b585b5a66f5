"""What can be done to one nats-server."""

from __future__ import annotations

import asyncio
import time

import nats
from nats.js.errors import Error as JetStreamError

from runtime.infra import NatsServer
from schemas.subjects import CMD_STREAM
from tests.support import blocks
from tests.support.blocks import Stored

SYNC_S = 1.0
"""What the embedded broker may lose to a power cut: it syncs its files every second."""


async def crash(server: NatsServer, down_s: float) -> None:
    """SIGKILL, and its start after some time."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(down_s)
    await asyncio.to_thread(server.start)


async def cut_power(server: NatsServer, lost_s: float, torn_bytes: int, down_s: float) -> dict[str, list[Stored]]:
    """SIGKILL, and its start without what every stream stored in the last `lost_s` seconds; gives that, by stream."""
    since = time.time() - lost_s  # a busy machine takes its time over the next line
    await asyncio.to_thread(server.kill)
    lost = await asyncio.to_thread(_take, server, since, torn_bytes)
    await asyncio.sleep(down_s)
    await asyncio.to_thread(server.start)
    return lost


def _take(server: NatsServer, since: float, torn_bytes: int) -> dict[str, list[Stored]]:
    streams = (server.directory / "jetstream" / "$G" / "streams").glob("*/msgs")
    taken = {path.parent.name: blocks.take_last(path, since, torn_bytes) for path in streams}
    return {stream: lost for stream, lost in taken.items() if lost}


async def fill_commands(url: str) -> int:
    """Leaves no room in CMD for another command; gives the limit that it had, for `set_limit`."""
    connection = await nats.connect(url.split(","))
    try:
        js = connection.jetstream(timeout=5)
        info = await js.stream_info(CMD_STREAM)
        limit = info.config.max_bytes or -1
        info.config.max_bytes = max(1, info.state.bytes)
        await js.update_stream(info.config)
        return limit
    finally:
        await connection.close()


async def set_limit(url: str, max_bytes: int, patience_s: float = 30.0) -> None:
    """Gives CMD its limit back; tries again while the broker is away."""
    end = time.monotonic() + patience_s
    while True:
        try:
            connection = await nats.connect(url.split(","), allow_reconnect=False, connect_timeout=2)
            try:
                js = connection.jetstream(timeout=5)
                config = (await js.stream_info(CMD_STREAM)).config
                config.max_bytes = max_bytes
                await js.update_stream(config)
                return
            finally:
                await connection.close()
        except (nats.errors.Error, JetStreamError, OSError, TimeoutError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)


async def takes_commands(url: str) -> bool:
    """Whether the broker's JetStream answers for CMD."""
    try:
        connection = await nats.connect(url.split(","), allow_reconnect=False, connect_timeout=2)
    except (nats.errors.Error, OSError, TimeoutError):
        return False
    try:
        await connection.jetstream(timeout=2).stream_info(CMD_STREAM)
    except (nats.errors.Error, JetStreamError, OSError, TimeoutError):
        return False
    finally:
        await connection.close()
    return True
