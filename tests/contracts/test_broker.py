"""The broker as the engine's adapters see it: the same tests over nats-server, and over the simulator's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from runtime.client.connection import Connection, connect, header_block, parse_headers
from runtime.client.inbox import Inbox, NoResponders
from runtime.client.ordered import OrderedReader
from runtime.client.stored import PAGE, StoredStream, StreamReset
from runtime.clock import Clock, system_clock
from runtime.errors import NotConnected
from runtime.host.broker import CommandStream, Feed
from runtime.host.ports import OutboxRow
from runtime.jetstream.command_stream import JetStreamCommands
from runtime.jetstream.publisher import JetStreamPublisher
from runtime.jetstream.reader import CommandReader, message_time
from runtime.jetstream.streams import StreamSettings, configs, ensure
from schemas import headers as names
from schemas.address import partition_of
from schemas.subjects import CMD_STREAM, EV_STREAM
from tests.simulation.broker import Broker
from tests.simulation.scheduler import Node, Scheduler, SimulatedClock
from tests.simulation.wire import SimulatedStream, Wire
from tests.support.patience import PATIENCE_S
from tests.support.system import System, run, until

PARTITIONS = 2
ROOM = 512
BATCH = 4
SESSION = "ev.default.s"


class Bench:
    """One empty broker. `clock` is the time that readers keep."""

    clock: Clock

    async def connect(self) -> Connection:
        """A connection of its own."""
        raise AssertionError("each broker has its own")

    def stream(self, connection: Connection) -> CommandStream:
        """Stream CMD as a whole."""
        raise AssertionError("each broker has its own")

    async def fill(self, connection: Connection, full: bool) -> None:
        """Lets stream CMD have no room, or room again."""
        raise AssertionError("each broker has its own")

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Runs a test to its end."""
        raise AssertionError("each broker has its own")


class OnNats(Bench):
    """A real server."""

    clock = system_clock

    def __init__(self, system: System) -> None:
        self._system = system
        self._open: list[Connection] = []

    async def connect(self) -> Connection:
        connection = await connect(self._system.nats_url, name="contract")
        self._open.append(connection)
        return connection

    def stream(self, connection: Connection) -> CommandStream:
        return JetStreamCommands(connection)

    async def fill(self, connection: Connection, full: bool) -> None:
        wanted = next(one for one in configs(StreamSettings(partitions=PARTITIONS)) if one.name == CMD_STREAM)
        if full:
            info = await connection.jetstream().stream_info(CMD_STREAM)
            wanted.max_bytes = max(info.state.bytes, 1)
        await connection.jetstream().update_stream(wanted)

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            try:
                await ensure(await self.connect(), StreamSettings(partitions=PARTITIONS))
                await scenario()
            finally:
                for connection in self._open:
                    await connection.close()

        run(whole())


class InMemory(Bench):
    """The simulator's."""

    def __init__(self) -> None:
        self._scheduler = Scheduler(1)
        self._broker = Broker(self._scheduler, PARTITIONS)
        self._node = Node(self._scheduler, "bench")
        self.clock = SimulatedClock(self._scheduler, 1)

    async def connect(self) -> Connection:
        return Wire(self._node, self._broker)

    def stream(self, connection: Connection) -> CommandStream:
        assert isinstance(connection, Wire)
        return SimulatedStream(connection)

    async def fill(self, connection: Connection, full: bool) -> None:
        self._broker.full = full

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            await scenario()

        task = self._node.start(whole())
        assert self._scheduler.run(task.done, 60.0), "it never ended"
        task.result()


@pytest.fixture(params=["nats", "memory"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return OnNats(request.getfixturevalue("system")) if request.param == "nats" else InMemory()


class Reading:
    """A reader of lanes, and what it handed on: (partition, stream sequence, time, id, body)."""

    def __init__(self, bench: Bench, connection: Connection, kinds: tuple[str, ...]) -> None:
        self.handed_on: list[tuple[int, int, int, str, bytes]] = []

        def deliver(feed: Feed, subject: str, seq: int, at: int, block: bytes, body: bytes) -> None:
            assert subject.startswith(f"p.{feed.partition}.default.")
            id = parse_headers(block).get(names.ID, "")
            self.handed_on.append((feed.partition, seq, at, id, body))

        self.reader = CommandReader(connection, kinds, deliver, bench.clock, batch=BATCH)

    @classmethod
    async def of(cls, bench: Bench, *kinds: str) -> Reading:
        """One that is open."""
        found = cls(bench, await bench.connect(), kinds)
        await found.reader.open()
        return found

    async def start(self, partition: int, taken: int = 0, taken_at: int = 0) -> Feed:
        """Reads a lane from behind a message."""
        feed = Feed(f"lane_{partition}", partition, taken, taken_at, lambda: ROOM)
        self.reader.start(feed)
        await until(lambda: feed.reading)
        return feed

    def seqs(self) -> list[int]:
        """The stream sequences that were handed on."""
        return [seq for _, seq, _, _, _ in self.handed_on]


def command(key: str, id: str, *, kind: str = "counter", body: bytes = b"{}") -> OutboxRow:
    """A command as outboxes send them."""
    headers = msgspec.json.encode({names.ID: id}).decode()
    return OutboxRow(0, 1, id, f"cmd.default.{kind}.{key}.add", headers, body)


def fact(number: int) -> OutboxRow:
    """A fact of a session."""
    headers = msgspec.json.encode({"Nats-Msg-Id": f"fact-{number}"}).decode()
    return OutboxRow(0, number, f"fact-{number}", SESSION, headers, b"%d" % number)


async def publisher(bench: Bench) -> JetStreamPublisher:
    """One that is open."""
    made = JetStreamPublisher(await bench.connect())
    await made.open()
    return made


def lane_of(key: str, kind: str = "counter") -> int:
    """The partition of an actor."""
    return partition_of("default", kind, key, PARTITIONS)


def test_given_commands_when_they_are_published_then_each_lane_has_its_own_in_order(bench: Bench) -> None:
    async def scenario() -> None:
        sender = await publisher(bench)
        keys = ["a", "b", "c", "d", "a", "b", "a"]
        assert {lane_of(key) for key in keys} == {0, 1}
        for number, key in enumerate(keys):
            assert await sender.publish_all([command(key, f"m{number}", body=b"%d" % number)]) == 1
        found = await Reading.of(bench, "counter")
        for lane in (0, 1):
            await found.start(lane)
        await until(lambda: len(found.handed_on) == len(keys))
        stream = bench.stream(await bench.connect())
        for lane in (0, 1):
            told = [(seq, id, body) for partition, seq, _, id, body in found.handed_on if partition == lane]
            mine = [number for number, key in enumerate(keys) if lane_of(key) == lane]
            assert told == [(number + 1, f"m{number}", b"%d" % number) for number in mine]
        for _, seq, at, _, _ in found.handed_on:
            assert await stream.message_time(seq) == at
        state = await stream.state()
        assert (state.first_seq, state.last_seq, state.messages) == (1, len(keys), len(keys))

    bench.run(scenario)


def test_given_the_same_command_twice_then_it_is_stored_twice_and_a_fact_is_not(bench: Bench) -> None:
    async def scenario() -> None:
        sender = await publisher(bench)
        for _ in range(2):
            assert await sender.publish_all([command("a", "m1"), command("a", "m1"), fact(1), fact(2)]) == 4
        connection = await bench.connect()
        assert (await bench.stream(connection).state()).last_seq == 4
        reader = await ordered(connection)
        await reader.open(0)
        entries = [await reader.next(), await reader.next()]
        assert [(entry.sequence, entry.body) for entry in entries] == [(1, b"1"), (2, b"2")]
        assert await sender.publish_all([fact(3)]) == 1
        assert (await reader.next()).body == b"3"
        await reader.close()

    bench.run(scenario)


async def ordered(connection: Connection) -> OrderedReader:
    """A reader of the session's facts."""
    inbox = Inbox(connection, "default", f"n{id(connection)}", lambda body: None)
    await inbox.open()
    return OrderedReader(connection, inbox, "r1", EV_STREAM, SESSION)


def test_given_a_place_in_a_session_when_it_is_read_on_then_it_begins_behind_it_or_says_that_it_cannot(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        sender = await publisher(bench)
        assert await sender.publish_all([fact(number) for number in range(1, 6)]) == 5
        reader = await ordered(await bench.connect())
        await reader.open(3)
        assert [(await reader.next()).sequence for _ in range(2)] == [4, 5]
        await reader.close()
        for place in ("ahead",):
            reader = await ordered(await bench.connect())
            with pytest.raises(StreamReset) as told:
                await reader.open(6)
            assert (told.value.reason, told.value.first, told.value.last) == (place, 1, 5)
        reader = await ordered(await bench.connect())
        await reader.open("new")
        assert await sender.publish_all([fact(6)]) == 1
        assert (await reader.next()).sequence == 6
        await reader.close()

    bench.run(scenario)


def test_given_facts_of_two_sessions_when_one_is_read_by_pages_then_they_are_its_own_from_there_on(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        sender = await publisher(bench)
        for number in range(1, PAGE + 7):
            other = fact(-number)._replace(subject="ev.default.other")
            assert await sender.publish_all([other, fact(number)]) == 2
        connection = await bench.connect()
        inbox = Inbox(connection, "default", "pages", lambda body: None)
        await inbox.open()
        stored = StoredStream(connection, inbox, EV_STREAM)
        entries = await stored.page(SESSION, 4)
        assert [entry.body for entry in entries] == [b"%d" % number for number in range(3, PAGE + 4)]
        assert [entry.sequence for entry in entries] == [2 * number for number in range(3, PAGE + 4)]
        rest = await stored.page(SESSION, entries[-1].sequence)
        assert [entry.body for entry in rest] == [b"%d" % number for number in range(PAGE + 4, PAGE + 7)]
        assert await stored.page(SESSION, rest[-1].sequence) == []

    bench.run(scenario)


@pytest.mark.parametrize("kinds", [("counter",), ("counter", "ledger")], ids=["one kind", "several"])
def test_given_kinds_when_a_lane_is_read_then_only_theirs_are_handed_on(bench: Bench, kinds: tuple[str, ...]) -> None:
    async def scenario() -> None:
        sender = await publisher(bench)
        rows = [command("a", f"{kind}{n}", kind=kind) for n in range(6) for kind in ("counter", "ledger", "other")]
        assert await sender.publish_all(rows) == len(rows)
        found = await Reading.of(bench, *kinds)
        feeds = [await found.start(lane) for lane in (0, 1)]
        wanted = {f"{kind}{number}" for number in range(6) for kind in kinds}
        await until(lambda: len(found.handed_on) >= len(wanted))
        assert {id for _, _, _, id, _ in found.handed_on} == wanted
        assert len(found.handed_on) == len(wanted)
        stream = bench.stream(await bench.connect())
        assert await stream.kinds() == {"counter", "ledger", "other"}
        for feed in feeds:
            first = await stream.next(f"p.{feed.partition}.*.other.*.*", 1)
            assert (first is not None) == (lane_of("a", "other") == feed.partition)
            assert await found.reader.caught_up(feed, len(rows))
        assert await stream.next("p.*.*.ledger.*.*", len(rows) + 1) is None
        first = await stream.next("p.*.*.ledger.*.*", 3)
        assert first is not None
        assert (first.seq, parse_headers(first.block)[names.ID], first.body) == (5, "ledger1", b"{}")

    bench.run(scenario)


def test_given_a_lane_when_it_is_read_from_a_checkpoint_then_it_goes_on_behind_it_for_ever(bench: Bench) -> None:
    async def scenario() -> None:
        sender = await publisher(bench)
        for number in range(3 * BATCH):
            assert await sender.publish_all([command("a", f"m{number}")]) == 1
        stream = bench.stream(await bench.connect())
        at = await stream.message_time(5)
        assert at is not None
        found = await Reading.of(bench, "counter")
        feed = await found.start(lane_of("a"), 5, at)
        await until(lambda: len(found.handed_on) == 3 * BATCH - 5)
        assert await sender.publish_all([command("a", f"n{number}") for number in range(ROOM)]) == ROOM
        await until(lambda: len(found.handed_on) == 3 * BATCH - 5 + ROOM)
        assert found.seqs() == list(range(6, 3 * BATCH + ROOM + 1))
        assert await found.reader.caught_up(feed, 3 * BATCH + ROOM)
        again = await Reading.of(bench, "counter")
        await again.start(lane_of("a"), 5, at + 1)  # another message than this pod had there
        await until(lambda: len(again.handed_on) == 3 * BATCH + ROOM)
        assert again.seqs() == list(range(1, 3 * BATCH + ROOM + 1))

    bench.run(scenario)


def test_given_a_stream_when_it_is_purged_then_what_lies_below_is_gone_and_the_rest_is_read(bench: Bench) -> None:
    async def scenario() -> None:
        sender = await publisher(bench)
        assert await sender.publish_all([command("a", f"m{number}") for number in range(6)]) == 6
        stream = bench.stream(await bench.connect())
        await stream.purge(4)
        state = await stream.state()
        assert (state.first_seq, state.last_seq, state.messages) == (4, 6, 3)
        assert await stream.message_time(3) is None
        assert await message_time(await bench.connect(), 3) is None
        found = await Reading.of(bench, "counter")
        await found.start(lane_of("a"))
        await until(lambda: len(found.handed_on) == 3)
        assert found.seqs() == [4, 5, 6]
        await stream.purge(7)
        state = await stream.state()
        assert (state.first_seq, state.last_seq, state.messages) == (7, 6, 0)
        assert await sender.publish_all([command("a", "m7")]) == 1
        await until(lambda: len(found.handed_on) == 4)
        assert found.seqs() == [4, 5, 6, 7]

    bench.run(scenario)


def test_given_a_consumer_that_the_server_lost_when_it_is_read_then_another_one_goes_on(bench: Bench) -> None:
    async def scenario() -> None:
        sender = await publisher(bench)
        found = await Reading.of(bench, "counter")
        feed = await found.start(lane_of("a"))
        assert await sender.publish_all([command("a", f"m{number}") for number in range(3)]) == 3
        await until(lambda: len(found.handed_on) == 3)
        other = await bench.connect()
        other.post(f"$JS.API.CONSUMER.DELETE.{CMD_STREAM}.{feed.consumer}", b"")
        await until(lambda: found.reader.restarts == 1 and feed.reading)
        assert await sender.publish_all([command("a", f"n{number}") for number in range(3)]) == 3
        await until(lambda: len(found.handed_on) == 6)
        assert found.seqs() == [1, 2, 3, 4, 5, 6]

    bench.run(scenario)


def test_given_requests_to_a_consumer_then_each_gets_what_it_asked_for_and_hears_of_its_end(bench: Bench) -> None:
    async def scenario() -> None:
        sender = await publisher(bench)
        assert await sender.publish_all([command("a", f"m{number}") for number in range(5)]) == 5
        connection = await bench.connect()
        heard: list[tuple[str, int, str]] = []

        def receive(subject: str, reply: str, body: bytes, block: bytes) -> None:
            status = parse_headers(block).get("Status", "")
            heard.append((target_of(subject), int(reply.split(".")[-4]) if reply else 0, "" if reply else status))

        def target_of(subject: str) -> str:
            return "stored" if subject.startswith("p.") else subject.rpartition(".")[2]

        inbox = connection.new_inbox()
        await connection.subscribe_direct(f"{inbox}.*", receive)
        config = {
            "name": "c1", "ack_policy": "none", "deliver_policy": "by_start_sequence", "opt_start_seq": 2,
            "filter_subject": f"p.{lane_of('a')}.>", "mem_storage": True, "num_replicas": 1,
        }  # fmt: skip
        box = Inbox(connection, "default", "n1", lambda body: None)
        await box.open()
        request = msgspec.json.encode({"stream_name": CMD_STREAM, "config": config, "action": "create"})
        create = f"$JS.API.CONSUMER.CREATE.{CMD_STREAM}.c1.{config['filter_subject']}"
        assert "error" not in msgspec.json.decode(await box.request(create, request, timeout_s=PATIENCE_S))

        def pull(name: str, batch: int, **more: int) -> None:
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{CMD_STREAM}.{name}"
            connection.post(subject, msgspec.json.encode({"batch": batch, **more}), reply=f"{inbox}.{batch}")

        pull("c1", 3)
        await until(lambda: len(heard) == 3)
        pull("c1", 7, expires=300_000_000)
        await until(lambda: len(heard) == 5)
        pull("nobody", 9)
        await until(lambda: len(heard) == 6)
        assert heard == [
            ("stored", 2, ""), ("stored", 3, ""), ("stored", 4, ""), ("stored", 5, ""), *sorted(heard[4:])
        ]  # fmt: skip
        assert sorted(heard[4:]) == [("7", 0, "408"), ("9", 0, "503")]
        pull("c1", 8, expires=20_000_000_000, idle_heartbeat=200_000_000)
        await until(lambda: ("8", 0, "100") in heard)
        connection.post(f"$JS.API.CONSUMER.DELETE.{CMD_STREAM}.c1", b"")
        await until(lambda: ("8", 0, "409") in heard)

    bench.run(scenario)


def test_given_a_full_stream_when_it_is_published_to_then_nothing_is_acknowledged_until_there_is_room(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        sender, connection = await publisher(bench), await bench.connect()
        assert await sender.publish_all([command("a", "m1")]) == 1
        await bench.fill(connection, True)
        assert await sender.publish_all([command("a", "m2"), command("a", "m3")]) == 0
        assert await sender.publish_all([fact(1)]) == 1
        await bench.fill(connection, False)
        assert await sender.publish_all([command("a", "m2"), command("a", "m3")]) == 2
        assert (await bench.stream(connection).state()).last_seq == 3

    bench.run(scenario)


def test_given_subjects_when_messages_come_then_one_of_a_queue_gets_each_and_nobody_is_told_so(bench: Bench) -> None:
    async def scenario() -> None:
        one, two, asker = await bench.connect(), await bench.connect(), await bench.connect()
        heard: list[str] = []

        def listening(connection: Connection, name: str) -> Any:
            def receive(subject: str, reply: str, body: bytes, block: bytes) -> None:
                heard.append(name)
                connection.post(reply, body + b" " + parse_headers(block)["Say"].encode())

            return receive

        await one.subscribe_direct("svc.default.x.*", listening(one, "one"), queue="all")
        second = await two.subscribe_direct("svc.default.x.*", listening(two, "two"), queue="all")
        await one.flush()
        await two.flush()
        box = Inbox(asker, "default", "n2", lambda body: None)
        await box.open()
        for number in range(20):
            block = header_block({"Say": str(number)})
            assert await box.request("svc.default.x.y", b"heard", block, timeout_s=PATIENCE_S) == b"heard %d" % number
        assert len(heard) == 20
        await second.unsubscribe()
        await two.flush()
        heard.clear()
        await box.request("svc.default.x.y", b"", header_block({"Say": "last"}), timeout_s=PATIENCE_S)
        assert heard == ["one"]
        with pytest.raises(NoResponders):
            await box.request("svc.default.z.y", b"", timeout_s=PATIENCE_S)
        await one.close()
        with pytest.raises(NotConnected):
            one.post("svc.default.x.y", b"")

    bench.run(scenario)
