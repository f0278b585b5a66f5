"""Memory that is short: actors leave it, and messages wait in the broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest
from msgspec import Struct

from runtime.entity import entity
from runtime.host import lane as lanes
from runtime.host.residence import resident_bytes
from runtime.jetstream import reader
from runtime.turn import Turn
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

MIB = 1024**2


def test_given_less_memory_than_the_pod_takes_when_it_looks_then_actors_leave_it_and_come_back_from_the_log(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "go"

    async def scenario() -> None:
        async with system.pod(max_resident_mb=1) as pod, system.client() as client:
            held = {"item": "x", "quantity": 1, "path": str(path)}
            slow = asyncio.ensure_future(client.ask("cart", "held", "put_slowly", held, timeout_s=120))
            await until(lambda: system.sql("SELECT state FROM pending") == [("running",)])
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(n)) for n in range(200)])
            await until(lambda: len(pod.activations) < 100)
            assert pod.activations.passivated > 100
            path.touch()
            assert await slow == 1, "work in flight is never evicted"
            answers = await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(200)])
            assert list(answers) == [n + 1 for n in range(200)]

    run(scenario())


def test_given_enough_memory_when_the_pod_looks_then_actors_stay(system: System) -> None:
    async def scenario() -> None:
        plenty = resident_bytes() // MIB + 10_000
        async with system.pod(counter, max_resident_mb=plenty) as pod, system.client() as client:
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(n)) for n in range(200)])
            pod.residence.sweep()
            assert len(pod.activations) == 200

    run(scenario())


class Blob(Struct, frozen=True):
    text: str


class Stored(Struct, frozen=True):
    size: int


def grow(state: int, event: Stored) -> int:
    """The fold of `blobs`."""
    return state + event.size


blobs = entity("blobs", initial=0, apply=grow)


@blobs.command
def store(state: int, command: Blob, ctx: Turn) -> Stored:
    return Stored(len(command.text))


SIZE, COUNT, KEYS = 200_000, 160, 16


def test_given_a_log_that_stands_still_when_large_messages_pour_in_then_bytes_are_bounded_and_the_broker_keeps_the_rest(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits small enough for a test: 2 MiB for all lanes, and 1 MiB a request."""
    monkeypatch.setattr(lanes, "MAX_MAILBOX_BYTES", 2 * MIB)
    monkeypatch.setattr(reader, "MAX_PULL_BYTES", MIB)
    bound = 2 * MIB + system.partitions * (MIB + SIZE)

    async def scenario() -> None:
        async with system.pod(blobs) as pod, system.client() as client:
            with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as holding:
                holding.execute("LOCK TABLE events IN SHARE MODE")
                for n in range(COUNT):
                    await client.tell("blobs", f"k{n % KEYS}", "store", {"text": "x" * SIZE})
                await until(lambda: pod.mailboxes.bytes > 2 * MIB)
                for _ in range(100):
                    assert pod.mailboxes.bytes <= bound
                    await asyncio.sleep(0.02)
                assert 2 * bound < COUNT * SIZE, "so most of it waits in the broker"
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(COUNT,)])
            await until(lambda: pod.mailboxes.bytes == 0)

    run(scenario())
    assert system.sql("SELECT sum((payload->>'size')::int) FROM events") == [(COUNT * SIZE,)]
