"""Many sessions watched over one cursor: each watcher gets its own facts, all, once and in order."""

from __future__ import annotations

import asyncio

import pytest

from runtime.client import Client, Connection, StreamReset, connect
from runtime.client.feed import MOST_ENTRIES, Feed, Watcher
from runtime.client.stored import StoredStream, StreamInfo
from runtime.jetstream.streams import StreamSettings, ensure
from schemas import subjects
from tests.client.nats_process import Broker
from tests.client.peer import Peer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def feed(client: Client, peer: Peer) -> Feed:
    """A feed of the shared broker."""
    return client.feed()


async def watch(feed: Feed, session: str, after: int = 0) -> Watcher:
    """Watches a session of the tenant `acme`."""
    return await feed.watch(subjects.events("acme", session), after)


async def take(watcher: Watcher, count: int) -> list[int]:
    """The sequences of the next messages."""
    async with asyncio.timeout(60):
        return [(await watcher.next()).sequence for _ in range(count)]


async def cursors(connection: Connection) -> int:
    """How many consumers the stream has."""
    return int((await connection.jetstream().stream_info("EV")).state.consumer_count)


async def test_given_many_watchers_then_the_broker_keeps_one_cursor_and_none_when_all_have_gone(
    feed: Feed, peer: Peer, connection: Connection
) -> None:
    watchers = await asyncio.gather(*[watch(feed, f"s{number}") for number in range(50)])
    assert await cursors(connection) == 1
    for number in range(100):
        await peer.publish("acme", f"s{number % 50}", "a")
    for number, watcher in enumerate(watchers):
        assert await take(watcher, 2) == [number + 1, number + 51]
    for watcher in watchers:
        await watcher.close()
    async with asyncio.timeout(60):
        while await cursors(connection):
            await asyncio.sleep(0.01)
    again = await watch(feed, "s0", 1)
    assert await take(again, 1) == [51]
    await again.close()


async def test_given_watchers_that_join_anywhere_while_facts_come_then_each_gets_every_fact_once(
    feed: Feed, peer: Peer
) -> None:
    total, sessions = 600, 3
    shown: list[tuple[int, int, list[int]]] = []

    async def publish() -> None:
        for number in range(total):
            await peer.publish("acme", f"s{number % sessions}", "a")

    async def join(number: int) -> None:
        while number * 7 > (await feed.stored.info()).state.last_seq:
            await asyncio.sleep(0.001)
        session, after = number % sessions, (number * 5) % (number * 7 + 1)
        watcher = await watch(feed, f"s{session}", after)
        wanted = [one for one in range(1, total + 1) if one > after and (one - 1) % sessions == session]
        shown.append((session, after, wanted))
        assert await take(watcher, len(wanted)) == wanted
        assert not watcher.waiting(10)
        await watcher.close()

    await asyncio.gather(publish(), *[join(number) for number in range(60)])
    assert len(shown) == 60
    assert feed.held == 0


async def test_given_a_slow_watcher_then_it_holds_little_and_gets_everything_from_the_stream(
    feed: Feed, peer: Peer
) -> None:
    slow, quick = await watch(feed, "s"), await watch(feed, "s")
    total = 4 * MOST_ENTRIES
    for first in range(0, total, 64):
        await asyncio.gather(*[peer.publish("acme", "s", "a") for _ in range(64)])
        assert await take(quick, 64) == list(range(first + 1, first + 65))
    assert len(slow._live) <= MOST_ENTRIES
    assert await take(slow, total) == list(range(1, total + 1))
    await peer.publish("acme", "s", "last")
    assert await take(slow, 1) == await take(quick, 1) == [total + 1]
    await slow.close()
    await quick.close()
    assert feed.held == 0


async def test_given_a_slow_watcher_of_a_quiet_session_when_the_stream_is_trimmed_then_nothing_was_lost_to_it(
    feed: Feed, peer: Peer, connection: Connection
) -> None:
    quiet, other = await watch(feed, "quiet"), await watch(feed, "other")
    await peer.publish("acme", "quiet", "a")
    assert await take(quiet, 1) == [1]
    for _ in range(5):
        await peer.publish("acme", "other", "a")
    assert await take(other, 5) == [2, 3, 4, 5, 6]
    await connection.jetstream().purge_stream("EV", seq=6)
    await asyncio.gather(*[peer.publish("acme", "quiet", "a") for _ in range(MOST_ENTRIES + 2)])
    async with asyncio.timeout(60):
        while not quiet._behind:
            await asyncio.sleep(0.001)
    assert await take(quiet, MOST_ENTRIES + 2) == list(range(7, MOST_ENTRIES + 9))
    await quiet.close()
    await other.close()


async def test_given_a_page_when_the_stream_is_trimmed_past_its_place_then_the_watcher_is_told(
    feed: Feed, peer: Peer, connection: Connection
) -> None:
    for _ in range(5):
        await peer.publish("acme", "s", "a")
    watcher = await watch(feed, "s", 1)
    await connection.jetstream().purge_stream("EV", seq=5)
    with pytest.raises(StreamReset, match="position 1 is behind"):
        await take(watcher, 1)
    await watcher.close()


async def test_given_a_stream_made_anew_then_all_who_watch_are_told(
    feed: Feed, peer: Peer, connection: Connection
) -> None:
    await peer.publish("acme", "a", "x")
    watchers = [await watch(feed, "a"), await watch(feed, "b")]
    assert await take(watchers[0], 1) == [1]
    await connection.jetstream().delete_stream("EV")
    await ensure(connection, StreamSettings(partitions=8))
    await peer.publish("acme", "c", "x")
    for watcher in watchers:
        async with asyncio.timeout(60):
            with pytest.raises(StreamReset) as reset:
                await watcher.next()
        assert reset.value.reason == "recreated"
        await watcher.close()
    again = await watch(feed, "c")
    assert await take(again, 1) == [1]
    await again.close()


async def test_given_the_broker_dies_then_watchers_go_on_when_it_is_back(broker: Broker) -> None:
    connection = await connect(broker.url, name="peer")
    await ensure(connection, StreamSettings(partitions=8))
    peer = Peer(connection, 8)
    async with await Client.connect(broker.url, "acme") as client:
        feed = client.feed()
        watchers = [await watch(feed, "s") for _ in range(3)]
        await peer.publish("acme", "s", "before")
        assert [await take(one, 1) for one in watchers] == [[1]] * 3
        following = [asyncio.ensure_future(take(one, 1)) for one in watchers]
        broker.kill()
        async with asyncio.timeout(60):
            while connection.connected.is_set():
                await asyncio.sleep(0.01)
        broker.start()
        assert await connection.wait_connected(60)
        await peer.publish("acme", "s", "after")
        assert await asyncio.gather(*following) == [[2]] * 3
        for watcher in watchers:
            await watcher.close()
    await connection.close()


async def test_given_a_long_past_then_pages_hold_all_of_it_in_order(client: Client, peer: Peer) -> None:
    for number in range(700):
        await peer.publish("acme", "s" if number % 3 else "other", "a" * 5000)
    stored = StoredStream(client.connection, client._inbox, "EV")
    found: list[int] = []
    while page := await stored.page(subjects.events("acme", "s"), found[-1] if found else 0):
        found += [entry.sequence for entry in page]
        assert all(entry.body.startswith(b"{") for entry in page)
    assert found == [number + 1 for number in range(700) if number % 3]


class Counting(StoredStream):
    """Counts the questions that go to the broker."""

    asked = 0

    async def ask(self) -> StreamInfo:
        """One of them."""
        self.asked += 1
        return await super().ask()


async def test_given_many_who_ask_at_once_what_the_stream_holds_then_they_share_questions_asked_after_theirs(
    client: Client, peer: Peer
) -> None:
    stored = Counting(client.connection, client._inbox, "EV")

    async def question() -> None:
        known = await peer.publish("acme", "s", "a")
        assert (await stored.info()).state.last_seq >= known

    await asyncio.gather(*[question() for _ in range(100)])
    assert stored.asked < 100
