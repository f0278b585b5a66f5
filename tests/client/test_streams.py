"""Sessions and tails: in order, from any position, across everything that interrupts them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from runtime.client import Client, Connection, StreamReset, connect
from runtime.client.ordered import BATCH, LOW_WATER, OrderedReader
from runtime.jetstream.streams import StreamSettings, ensure
from schemas.address import partition_of
from schemas.wire import Failure, LogEvent, Reply
from tests.client.nats_process import Broker
from tests.client.peer import Peer
from tests.support.patience import PATIENCE_S, out_of_time

pytestmark = pytest.mark.anyio


async def take(client: Client, session: str, count: int, after: Any = None) -> list[tuple[int, str]]:
    """(sequence, name) of the first `count` facts."""
    facts = []
    async with asyncio.timeout(PATIENCE_S), aclosing(client.subscribe(session, after=after)) as stream:
        async for sequence, fact in stream:
            facts.append((sequence, fact.name))
            if len(facts) == count:
                break
    return facts


async def test_given_facts_then_a_session_shows_its_own_in_order_from_any_sequence(client: Client, peer: Peer) -> None:
    for name in ("a", "b", "c"):
        await peer.publish("acme", "s 1", name)
        await peer.publish("acme", "other", "x")
        await peer.publish("globex", "s 1", "y")
    assert await take(client, "s 1", 3) == [(1, "a"), (4, "b"), (7, "c")]
    assert await take(client, "s 1", 2, after=1) == [(4, "b"), (7, "c")]
    assert await take(client, "s 1", 1, after=6) == [(7, "c")]


async def test_given_only_new_facts_are_asked_for_then_old_ones_are_not_shown(client: Client, peer: Peer) -> None:
    await peer.publish("acme", "s", "old")
    reader = await client.read_session("s", "new")
    await peer.publish("acme", "s", "new")
    entry = await reader.next()
    assert (entry.sequence, reader.position) == (2, 2)
    await reader.close()


async def test_given_more_facts_than_fit_in_memory_then_they_wait_in_the_broker_and_all_come(
    client: Client, peer: Peer
) -> None:
    reader = await client.read_session("s", 0)
    total = 5 * BATCH
    await asyncio.gather(*[peer.publish("acme", "s", str(n)) for n in range(total)])
    await asyncio.sleep(0.2)
    most = len(reader._entries)
    sequences: list[int] = []
    cursor = reader._consumer
    while len(sequences) < total:
        sequences.append((await reader.next()).sequence)
        await asyncio.sleep(0.001)  # what was asked for arrives meanwhile
        most = max(most, len(reader._entries))
        sequences += [entry.sequence for entry in reader.waiting(3)]
    assert sequences == list(range(1, total + 1))
    assert most <= BATCH + LOW_WATER
    assert reader._consumer == cursor, "nothing was in doubt"
    await reader.close()


@pytest.mark.parametrize(("after", "reason"), [(2, "behind"), (99, "ahead")])
async def test_given_a_position_that_the_stream_does_not_hold_then_the_reader_is_told(
    client: Client, peer: Peer, connection: Connection, after: int, reason: str
) -> None:
    for name in "abcdef":
        await peer.publish("acme", "s", name)
    await connection.jetstream().purge_stream("EV", seq=5)
    with pytest.raises(StreamReset) as reset:
        await take(client, "s", 1, after=after)
    assert (reset.value.reason, reset.value.first, reset.value.last) == (reason, 5, 6)
    assert await take(client, "s", 2, after=4) == [(5, "e"), (6, "f")]


async def test_given_a_stream_made_anew_while_it_is_read_then_the_reader_is_told(
    client: Client, peer: Peer, connection: Connection
) -> None:
    await peer.publish("acme", "s", "a")
    reader = await client.read_session("s", 0)
    await reader.next()
    await connection.jetstream().delete_stream("EV")
    await ensure(connection, StreamSettings(partitions=8))
    await peer.publish("acme", "s", "b")
    await peer.publish("acme", "s", "c")
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(StreamReset) as reset:
            await reader.next()
    assert reset.value.reason == "recreated"
    await reader.close()


async def test_given_the_cursor_is_lost_then_reading_goes_on_without_gap_or_repeat(
    client: Client, peer: Peer, connection: Connection
) -> None:
    reader = await client.read_session("s", 0)
    for round in range(3):
        await peer.publish("acme", "s", "a")
        assert (await reader.next()).sequence == round + 1
        await connection.jetstream().delete_consumer("EV", reader._consumer)
    await peer.publish("acme", "s", "last")
    async with asyncio.timeout(PATIENCE_S):
        assert (await reader.next()).sequence == 4
    await reader.close()


async def test_given_a_delivery_is_lost_then_reading_begins_anew_behind_the_last_one(
    client: Client, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive = OrderedReader._on_message
    lost: list[str] = []

    def lossy(self: OrderedReader, subject: str, reply: str, data: bytes, header: bytes) -> None:
        if reply and len(self._entries) == 2 and not lost:
            lost.append(reply)
        else:
            receive(self, subject, reply, data, header)

    monkeypatch.setattr(OrderedReader, "_on_message", lossy)
    for name in "abcdef":
        await peer.publish("acme", "s", name)
    assert [sequence for sequence, _ in await take(client, "s", 6)] == [1, 2, 3, 4, 5, 6]
    assert len(lost) == 1


async def test_given_no_stream_then_reading_it_says_so(client: Client, connection: Connection) -> None:
    await connection.jetstream().delete_stream("EV")
    read = client.read_session
    await out_of_time(lambda timeout_s: read("s", 0, timeout_s=timeout_s), "stream EV cannot be read now")


async def test_given_a_closed_reader_then_the_broker_keeps_no_cursor(client: Client, connection: Connection) -> None:
    reader = await client.read_session("s", 0)
    assert (await connection.jetstream().stream_info("EV")).state.consumer_count == 1
    await reader.close()
    async with asyncio.timeout(PATIENCE_S):
        while (await connection.jetstream().stream_info("EV")).state.consumer_count:
            await asyncio.sleep(0.01)


async def test_given_the_broker_dies_then_a_session_goes_on_when_it_is_back(broker: Broker) -> None:
    connection = await connect(broker.url, name="peer")
    await ensure(connection, StreamSettings(partitions=8))
    peer = Peer(connection, 8)
    async with await Client.connect(broker.url, "acme") as client:
        reader = await client.read_session("s", 0)
        await peer.publish("acme", "s", "before")
        assert (await reader.next()).sequence == 1
        following = asyncio.ensure_future(reader.next())
        broker.kill()
        await asyncio.sleep(0.3)
        broker.start()
        assert await connection.wait_connected(PATIENCE_S)
        await peer.publish("acme", "s", "after")
        async with asyncio.timeout(PATIENCE_S):
            assert (await following).sequence == 2
        await reader.close()
    await connection.close()


def log_event(seq: int) -> LogEvent:
    """The event of that sequence."""
    return LogEvent("acme", "account", "alice", seq, 3, seq, "Deposited", 1, "", "c", msgspec.Raw(b"{}"))


class Log:
    """The log that the peer serves; `commit` adds an event and says so, as a pod does."""

    def __init__(self, peer: Peer, length: int) -> None:
        self.peer = peer
        self.length = length
        self.reads = 0
        self.failures = 0
        peer.services["log"] = self.answer

    def answer(self, request: dict[str, Any]) -> Any:
        """A page of the log, or a failure."""
        self.reads += 1
        if self.failures:
            self.failures -= 1
            return Reply("", error=Failure("unavailable", "Postgres is gone"))
        first = request["from_seq"]
        events = [log_event(seq) for seq in range(first, min(self.length + 1, first + request["limit"]))]
        return {"events": events}

    def commit(self, lane: int) -> None:
        """One more event."""
        self.length += 1
        self.peer.connection.post("commits.g", msgspec.msgpack.encode({lane: self.length}))


async def test_given_a_tail_then_it_shows_old_events_and_each_new_one_when_it_is_committed(
    client: Client, peer: Peer
) -> None:
    log = Log(peer, 1200)
    own = partition_of("acme", "account", "alice", 8)
    async with asyncio.timeout(PATIENCE_S), aclosing(client.tail("account", "alice", from_seq=3)) as events:
        assert [(await anext(events)).seq for _ in range(1198)] == list(range(3, 1201))
        following = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        reads = log.reads
        log.commit((own + 1) % 8)  # another partition's lane
        await peer.connection.flush()
        await asyncio.sleep(0.1)
        assert log.reads == reads, "a commit elsewhere made the tail read"
        log.commit(own + 8 * 5)  # the same partition's lane of another group
        assert (await following).seq == 1201
        assert (await anext(events)).seq == 1202


async def test_given_the_log_cannot_be_read_for_a_while_then_the_tail_goes_on(client: Client, peer: Peer) -> None:
    log = Log(peer, 1)
    log.failures = 2
    async with asyncio.timeout(PATIENCE_S), aclosing(client.tail("account", "alice")) as events:
        assert (await anext(events)).seq == 1
    assert log.reads == 3
