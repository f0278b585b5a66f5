"""What tests of the intake need: intents, an intake in this process, and what a session's stream shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import nats
from nats.js import JetStreamContext
from nats.js.errors import APIError

from actors import intake
from runtime.client import Client
from schemas.wire import Fact, Intent
from tests.support.patience import PATIENCE_S
from tests.support.system import System


async def facts(client: Client, session: str, enough: Callable[[list[Fact]], bool]) -> list[Fact]:
    """What the session's stream shows, until it is enough."""
    seen: list[Fact] = []
    async with asyncio.timeout(PATIENCE_S), aclosing(client.subscribe(session)) as stream:
        async for _, fact in stream:
            seen.append(fact)
            if enough(seen):
                return seen
    raise AssertionError("a session's stream never ends")


def ends(count: int) -> Callable[[list[Fact]], bool]:
    """So many results or errors."""
    return lambda seen: sum(fact.type in ("result", "error") for fact in seen) >= count


def adding(key: str, amount: int, **parts: Any) -> Intent:
    return Intent("counter", key, "add", {"amount": amount}, **parts)


async def stored(system: System, stream: str) -> int:
    """Messages in a stream."""
    connection = await nats.connect(system.nats_url)
    try:
        return int((await connection.jetstream().stream_info(stream)).state.messages)
    finally:
        await connection.close()


@asynccontextmanager
async def serving(system: System) -> AsyncIterator[None]:
    """An intake in this process."""
    stop, up = asyncio.Event(), asyncio.Event()
    task = asyncio.ensure_future(intake.serve(system.nats_url, stop, ready=up.set))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await up.wait()
        yield
    finally:
        stop.set()
        await task


async def empty(system: System) -> bool:
    """Whether every intent is settled."""
    return await stored(system, "INTENT") == 0


NOBODYS_GROUP = """
    INSERT INTO groups (name) VALUES ('idle');
    INSERT INTO partitions (lane, group_name, partition, checkpoint, checkpoint_at) VALUES (999, 'idle', 0, 0, 0)
"""


def keep_untrimmed(system: System) -> None:
    """Has CMD kept for a group that nobody runs: a pod trims a full stream within seconds, which a test may need."""
    system.sql(NOBODYS_GROUP)


async def fill(jetstream: JetStreamContext) -> None:
    """Makes stream CMD small, and leaves no room in it."""
    config = (await jetstream.stream_info("CMD")).config
    await jetstream.update_stream(config.evolve(max_bytes=20_000))
    try:
        while True:
            await jetstream.publish("cmd.default.nobody.a.fill", b"")
    except APIError as error:
        assert "maximum bytes" in str(error)
