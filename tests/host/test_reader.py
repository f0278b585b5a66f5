"""Reading a lane of CMD: nothing is missed or handed on twice, whatever becomes of deliveries and consumers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from runtime.client.connection import Connection, connect
from runtime.clock import system_clock
from runtime.host.broker import Feed
from runtime.infra import Infra
from runtime.jetstream import reader as readers
from runtime.jetstream.reader import CommandReader, message_time
from runtime.jetstream.streams import StreamSettings, ensure
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

Delivery = tuple[str, str, bytes, bytes]
"""What the broker delivers: subject, reply, body and headers."""

MORE_THAN_UNACKNOWLEDGED = 1_200
"""More messages than the broker delivers to a consumer that acknowledges none of those it should."""


class Losing(CommandReader):
    """A reader behind a network that keeps deliveries back for which `loses` says so."""

    def __init__(self, connection: Connection, handed_on: list[int]) -> None:
        def deliver(feed: Feed, subject: str, seq: int, at: int, block: bytes, body: bytes) -> None:
            handed_on.append(seq)

        super().__init__(connection, ["counter"], deliver, system_clock)
        self.loses: Callable[[Delivery], bool] = lambda delivery: False
        self.kept: list[Delivery] = []

    def _on_message(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        delivery = (subject, reply, body, headers)
        if self.loses(delivery):
            self.kept.append(delivery)
        else:
            super()._on_message(*delivery)

    def comes_late(self, delivery: Delivery) -> None:
        """What was kept back arrives after all."""
        super()._on_message(*delivery)


def stored_as(delivery: Delivery) -> int:
    """The stream sequence of a delivered message; 0 for the broker's own words."""
    reply = delivery[1]
    return int(reply.split(".")[-4]) if reply.startswith("$JS.ACK.") else 0


class Reading:
    """A stream of one lane, a reader of it, and the stream sequences that it handed on."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.handed_on: list[int] = []
        self.reader = Losing(connection, self.handed_on)

    async def publish(self, count: int) -> None:
        """Stores so many commands."""
        js = self.connection.jetstream()
        for _ in range(count):
            await js.publish("cmd.default.counter.a.add", b'{"amount":1}')

    async def start(self, taken: int = 0) -> Feed:
        """Reads on behind a message of the stream."""
        at = await message_time(self.connection, taken) if taken else 0
        assert at is not None
        feed = Feed("test_0", 0, taken, at, lambda: 512)
        self.reader.start(feed)
        await until(lambda: feed.reading)
        return feed

    async def read_all(self, upto: int, first: int = 1) -> None:
        """Waits until the last one was handed on; then all were, once and in order."""
        await until(lambda: upto in self.handed_on)
        assert self.handed_on == list(range(first, upto + 1))


@asynccontextmanager
async def reading(system: System) -> AsyncIterator[Reading]:
    """A stream without messages, and a reader that has not started."""
    connection = await connect(system.nats_url, name="test reader")
    watching: asyncio.Task[None] | None = None
    try:
        await ensure(connection, StreamSettings(partitions=1))
        found = Reading(connection)
        await found.reader.open()
        watching = asyncio.ensure_future(found.reader.watch())
        yield found
    finally:
        if watching is not None:
            watching.cancel()
        await connection.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence alone makes no consumer suspect: what is shown is noticed by something else."""
    monkeypatch.setattr(readers, "MISSED_HEARTBEATS", 1e6)


def test_given_a_checkpoint_when_a_lane_is_read_then_it_begins_with_the_message_behind_it(system: System) -> None:
    async def scenario() -> None:
        async with reading(system) as found:
            await found.publish(5)
            await found.start(taken=3)
            await found.read_all(5, first=4)

    run(scenario())


def test_given_messages_that_nobody_acknowledges_when_there_are_many_then_all_come_once(system: System) -> None:
    async def scenario() -> None:
        async with reading(system) as found:
            for _ in range(MORE_THAN_UNACKNOWLEDGED):
                found.connection.post("cmd.default.counter.a.add", b'{"amount":1}')
            await found.start()
            await found.read_all(MORE_THAN_UNACKNOWLEDGED)

    run(scenario())


def test_given_a_delivery_that_is_lost_when_the_next_one_comes_then_reading_begins_anew_behind_the_last_one_taken(
    system: System,
) -> None:
    async def scenario() -> None:
        async with reading(system) as found:
            lost = found.reader.kept
            found.reader.loses = lambda delivery: stored_as(delivery) == 3 and not lost
            await found.publish(6)
            await found.start()
            await found.read_all(6)
            assert len(lost) == 1

    run(scenario())


@pytest.mark.usefixtures("patient")
def test_given_the_last_delivery_is_lost_when_the_broker_says_how_many_it_made_then_it_is_asked_for_again(
    system: System,
) -> None:
    async def scenario() -> None:
        async with reading(system) as found:
            lost = found.reader.kept
            found.reader.loses = lambda delivery: stored_as(delivery) == 3 and not lost
            await found.publish(3)
            await found.start()
            await found.read_all(3)
            assert len(lost) == 1

    run(scenario())


def test_given_a_consumer_that_falls_silent_when_its_heartbeats_are_missed_then_another_one_goes_on(
    system: System,
) -> None:
    async def scenario() -> None:
        async with reading(system) as found:
            await found.publish(2)
            feed = await found.start()
            await found.read_all(2)
            silent = feed.generation
            found.reader.loses = lambda delivery: feed.generation == silent
            await found.publish(2)
            await found.read_all(4)

    run(scenario())


@pytest.mark.usefixtures("patient")
def test_given_a_consumer_that_is_deleted_when_the_broker_says_so_then_another_one_goes_on(system: System) -> None:
    async def scenario() -> None:
        async with reading(system) as found:
            await found.publish(2)
            feed = await found.start()
            await found.read_all(2)
            assert feed.consumer is not None
            await found.connection.jetstream().delete_consumer("CMD", feed.consumer)
            await found.publish(2)
            await found.read_all(4)

    run(scenario())


@pytest.mark.usefixtures("patient")
def test_given_a_broker_that_forgot_its_consumers_when_the_pod_is_connected_again_then_it_reads_on(
    own_system: System, infra: Infra
) -> None:
    async def scenario() -> None:
        async with own_system.pod(counter), own_system.client() as client:
            assert await client.ask(counter, "a", Add(1)) == 1
            await asyncio.to_thread(infra.nats.kill)
            await asyncio.to_thread(infra.nats.start)
            assert await client.ask(counter, "a", Add(1), timeout_s=30) == 2

    run(scenario())


def test_given_a_late_message_of_a_consumer_that_was_given_up_when_it_comes_then_it_is_dropped(system: System) -> None:
    async def scenario() -> None:
        async with reading(system) as found:
            late = found.reader.kept
            found.reader.loses = lambda delivery: stored_as(delivery) == 3 and not late
            await found.publish(3)
            feed = await found.start()
            await until(lambda: late)
            names = [feed.consumer]
            found.reader.restart_all("its last message does not come")
            await until(lambda: feed.reading)
            names.append(feed.consumer)
            await found.publish(1)
            await found.read_all(4)
            found.reader.comes_late(late[0])
            await found.publish(1)
            await found.read_all(5)
            assert len(set(names)) == 2, f"two consumers had one name: {names}"

    run(scenario())
