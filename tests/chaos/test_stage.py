"""Each fault does what it says: the disk is full, the clock jumps, the broker has lost what came last."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import nats
import psycopg
import pytest
from nats.js.errors import NotFoundError

from runtime.infra import Infra, NatsServer
from runtime.infra.ports import free_port
from runtime.postgres.migrate import migrate
from tests.chaos.stage import Needs, Stage, broker, clocks, quota
from tests.chaos.stage.clocks import WallClock
from tests.chaos.stage.quota import Quota
from tests.protocol.sessions import keep_untrimmed
from tests.support import blocks
from tests.support.kinds import Add, counter
from tests.support.patience import PATIENCE_S, out_of_time
from tests.support.system import System, run, until

needs_quota = pytest.mark.skipif(quota.missing() is not None, reason=quota.missing() or "")
needs_clocks = pytest.mark.skipif(clocks.missing() is not None, reason=clocks.missing() or "")


@needs_quota
def test_given_a_disk_that_is_filled_when_somebody_writes_then_there_is_no_room_until_it_is_given_back(
    tmp_path: Path,
) -> None:
    disk = Quota(tmp_path / "disk")
    try:
        (disk.directory / "before").write_bytes(b"x" * 1_000_000)
        disk.fill()
        with pytest.raises(OSError, match="No space") as full:
            (disk.directory / "more").write_bytes(b"x" * 1_000_000)
        assert full.value.errno == errno.ENOSPC
        disk.free()
        (disk.directory / "more").write_bytes(b"x" * 1_000_000)
    finally:
        disk.close()
    assert not os.path.ismount(disk.directory)


@needs_quota
def test_given_a_broker_whose_disk_was_full_when_there_is_room_again_then_its_owner_starts_it_and_it_stores(
    tmp_path: Path,
) -> None:
    """nats-server stores nothing more in a stream that it could not write, until it is started again."""
    disk = Quota(tmp_path / "disk")
    server = NatsServer(disk.directory, free_port(), "0" * 32)
    server.start()

    async def scenario() -> None:
        connection = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
        patient, js = connection.jetstream(timeout=PATIENCE_S), connection.jetstream(timeout=1)
        await patient.add_stream(name="A", subjects=["a"])
        assert (await patient.publish("a", b"x" * 1000)).seq == 1
        disk.fill()
        with pytest.raises(TimeoutError):
            await asyncio.gather(*[js.publish("a", b"x" * 1000) for _ in range(1000)])
        assert not server.revive(), "there is no room yet"
        disk.free()
        assert server.revive()
        assert not server.revive()
        await connection.close()
        connection = await nats.connect(server.url)
        assert (await connection.jetstream(timeout=PATIENCE_S).publish("a", b"x")).seq > 1
        await connection.close()

    try:
        run(scenario())
    finally:
        server.stop()
        disk.close()


@needs_clocks
def test_given_a_process_with_a_clock_of_its_own_when_it_is_set_then_only_its_wall_clock_jumps(tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    show = (
        "import sys, time, threading\n"
        "threading.Thread(target=lambda: None).start()\n"
        "for line in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", show], env={**os.environ, **clock.environment()}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None

        def difference() -> float:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            wall, monotonic = map(float, process.stdout.readline().split())
            assert abs(monotonic - time.monotonic()) < 60
            return wall - time.time()

        for seconds in (300.0, -300.0, 0.0):
            clock.set(seconds)
            run(until(lambda: abs(difference() - seconds) < 100))  # noqa: B023 - it is over before the next one
        process.stdin.close()


def test_given_messages_in_a_stream_when_the_power_is_cut_then_the_last_are_gone_and_their_sequences_come_again(
    infra: Infra, own_system: System
) -> None:
    async def scenario() -> None:
        async with own_system.pod(counter):
            pass  # makes the streams
        async with own_system.client() as client:
            for n in range(5):
                await client.tell(counter, f"k{n}", Add(1), id=f"early-{n}")
            await asyncio.sleep(1.0)
            late = time.time()
            for n in range(4):
                await client.tell(counter, f"k{n}", Add(1), id=f"late-{n}")
        lost = await broker.cut_power(infra.nats, time.time() - late + 0.5, 20, 0.0)
        assert [message.id for message in lost["CMD"]] == [f"late-{n}" for n in range(4)]
        assert lost["CMD"][0].subject.split(".")[2:] == ["default", "counter", "k0", "add"]
        connection = await nats.connect(infra.nats.url)
        js = connection.jetstream()
        assert (await js.stream_info("CMD")).state.last_seq == 5
        found = [(await js.get_msg("CMD", n)).headers for n in range(1, 6)]
        assert [headers["Troupe-Id"] for headers in found if headers] == [f"early-{n}" for n in range(5)]
        with pytest.raises(NotFoundError):
            await js.get_msg("CMD", 6)
        await connection.close()
        async with own_system.client() as client:
            await client.tell(counter, "k9", Add(1), id="again")
        infra.nats.kill()
        left = blocks.read(blocks.messages_dir(infra.nats.directory, "CMD"))
        assert [(message.sequence, message.id) for message in left] == [
            *[(n + 1, f"early-{n}") for n in range(5)], (6, "again"),
        ]  # fmt: skip

    run(scenario())


def test_given_a_full_stream_when_its_limit_is_given_back_then_commands_are_stored_again(
    infra: Infra, own_system: System
) -> None:
    async def scenario() -> None:
        async with own_system.pod(counter), own_system.client() as client:
            assert await client.ask(counter, "a", Add(1)) == 1
            keep_untrimmed(own_system)
            limit = await broker.fill_commands(infra.nats.url)
            await out_of_time(lambda timeout_s: client.tell(counter, "a", Add(1), timeout_s=timeout_s), "full")
            await broker.set_limit(infra.nats.url, limit)
            assert await client.ask(counter, "a", Add(1)) == 2

    run(scenario())


def test_given_a_backup_taken_at_work_when_it_is_put_back_then_what_came_after_it_is_gone(tmp_path: Path) -> None:
    stage = Stage(Needs(), tmp_path)
    run(migrate(stage.postgres_url))

    def names() -> list[str]:
        with psycopg.connect(stage.postgres_url, autocommit=True) as connection:
            return [row[0] for row in connection.execute("SELECT name FROM troupe.settings WHERE name LIKE 'test-%'")]

    def add(name: str) -> None:
        with psycopg.connect(stage.postgres_url, autocommit=True) as connection:
            connection.execute("INSERT INTO troupe.settings (name, value) VALUES (%s, '1')", (name,))

    try:
        add("test-before")
        stage.backup.take(lambda: None)
        add("test-after")
        assert names() == ["test-before", "test-after"]
        stage.backup.put_back(lambda: None)
        assert names() == ["test-before"]
    finally:
        stage.close()
