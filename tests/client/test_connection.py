"""The two fast paths over nats-py, and what becomes of a connection that breaks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.errors import NoRespondersError

from runtime.client.connection import Connection, MessageTooLarge, connect, header_block, parse_headers
from runtime.errors import NotConnected
from tests.client.nats_process import Broker
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.anyio


async def test_given_a_direct_subscription_then_posted_messages_arrive_whole_and_in_order(
    connection: Connection,
) -> None:
    arrived: list[tuple[str, str, bytes, dict[str, str]]] = []
    await connection.subscribe_direct("t.*", lambda s, r, b, h: arrived.append((s, r, b, parse_headers(h))))
    for number in range(1000):
        connection.post(f"t.{number}", b"%d" % number, header_block({"N": str(number), "Ü": "ä b"}), "back")
    connection.post("t.bare", b"")
    await connection.flush()
    assert arrived[:-1] == [(f"t.{n}", "back", b"%d" % n, {"N": str(n), "Ü": "ä b"}) for n in range(1000)]
    assert arrived[-1] == ("t.bare", "", b"", {})


async def test_given_a_flush_then_all_that_was_posted_before_it_has_arrived(connection: Connection) -> None:
    arrived: list[int] = []
    await connection.subscribe_direct("t", lambda s, r, b, h: arrived.append(len(b)))
    for _ in range(20):
        for _ in range(1000):
            connection.post("t", b"x" * 500)
        await connection.flush()
        assert len(arrived) == 1000
        arrived.clear()


async def test_given_a_receiver_that_raises_then_later_messages_still_arrive(connection: Connection) -> None:
    arrived: list[bytes] = []

    def receive(subject: str, reply: str, data: bytes, block: bytes) -> None:
        if data == b"bad":
            raise ValueError(data)
        arrived.append(data)

    await connection.subscribe_direct("t", receive)
    for data in (b"1", b"bad", b"2"):
        connection.post("t", data)
    await connection.flush()
    assert arrived == [b"1", b"2"]


async def test_given_it_unsubscribed_then_nothing_arrives_any_more(connection: Connection) -> None:
    arrived: list[bytes] = []
    subscription = await connection.subscribe_direct("t", lambda s, r, b, h: arrived.append(b))
    await subscription.unsubscribe()
    connection.post("t", b"late")
    await connection.flush()
    assert arrived == []


async def test_a_body_beyond_what_the_server_takes_is_refused_before_it_is_sent(connection: Connection) -> None:
    with pytest.raises(MessageTooLarge):
        connection.post("t", b"x" * (connection.max_payload + 1))


def test_a_header_value_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        header_block({"A": "1\r\nTroupe-Principal: root"})


async def test_given_the_server_ends_the_connection_with_an_error_then_it_comes_back(connection: Connection) -> None:
    arrived: list[bytes] = []
    await connection.subscribe_direct("t", lambda s, r, b, h: arrived.append(b))
    resumed = asyncio.Event()
    connection.resumed.add(resumed.set)
    connection.post("x" * 5000, b"")  # beyond the server's control line, for which nats-py would close for good
    async with asyncio.timeout(PATIENCE_S):
        await resumed.wait()
    connection.post("t", b"again")
    await connection.flush()
    assert arrived == [b"again"]


async def test_given_nobody_listens_then_connecting_ends_with_an_error_that_hides_the_password() -> None:
    with pytest.raises(NotConnected, match="RUNTIME_NATS_URL") as failure:
        await connect("nats://user:secret@127.0.0.1:1", name="test", connect_timeout_s=0.5)
    assert "127.0.0.1:1" in str(failure.value)
    assert "secret" not in str(failure.value)


async def test_given_an_attempt_that_fails_just_when_the_time_is_over_then_connecting_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def attempt(self: Connection) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionRefusedError from None  # so does `wait_for` before 3.12, if both happen in one turn

    monkeypatch.setattr(Connection, "_select_next_server", attempt)
    connecting = asyncio.ensure_future(connect("nats://127.0.0.1:1", name="test", connect_timeout_s=0.01))
    done, _ = await asyncio.wait([connecting], timeout=PATIENCE_S)
    assert done
    with pytest.raises(NotConnected):
        await connecting


async def test_given_wrong_credentials_then_connecting_fails_without_using_up_its_time(tmp_path: Path) -> None:
    broker = Broker(tmp_path, "--user", "ann", "--pass", "right")
    broker.start()
    try:
        async with asyncio.timeout(60):
            with pytest.raises(NotConnected, match="(?i)authorization"):
                await connect(f"nats://ann:wrong@127.0.0.1:{broker.port}", name="test", connect_timeout_s=600)
    finally:
        broker.stop()


async def test_given_a_broker_that_was_killed_and_came_back_then_the_connection_goes_on(broker: Broker) -> None:
    connection = await connect(broker.url, name="test")
    try:
        arrived: list[bytes] = []
        await connection.subscribe_direct("t", lambda s, r, b, h: arrived.append(b))
        await connection.flush()
        broker.kill()
        async with asyncio.timeout(PATIENCE_S):
            while connection.connected.is_set():
                await asyncio.sleep(0.01)
        assert not await connection.wait_connected(0.01)
        broker.start()
        assert await connection.wait_connected(PATIENCE_S)
        connection.post("t", b"after")
        await connection.flush()
        assert arrived == [b"after"]
    finally:
        await connection.close()
    with pytest.raises(NotConnected, match="closed"):
        connection.post("t", b"never")


@pytest.mark.parametrize("steps", range(10))
async def test_given_a_task_that_is_cancelled_while_it_sends_then_it_ends(connection: Connection, steps: int) -> None:
    async def ask_for_ever() -> None:
        while True:
            try:
                await connection.request("nobody.listens", b"", timeout=1)
            except (TimeoutError, NoRespondersError):
                pass

    task = asyncio.ensure_future(ask_for_ever())
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=PATIENCE_S)
    assert done
    assert task.cancelled()


async def test_given_a_broker_that_reads_no_more_when_messages_are_posted_then_the_buffer_has_a_bound(
    tmp_path: Path,
) -> None:
    broker = Broker(tmp_path)
    broker.start()
    try:
        await _pour_into(broker)
    finally:
        broker.stop()


async def _pour_into(broker: Broker) -> None:
    connection = await connect(broker.url, name="test", pending_size=1_000_000)

    async def pour(messages: int) -> None:
        for _ in range(messages):
            connection.post("any", b"x" * 1_000_000)
            await asyncio.sleep(0.001)

    broker.freeze()
    with pytest.raises(NotConnected, match="does not read"):
        await pour(100)
    assert connection.is_connected, "it is not known yet that the broker does not answer"
    broker.wake()
    await connection.flush()
    for _ in range(20):  # a buffer that is only full for a moment takes more
        connection.post("any", b"x" * 1_000_000)
    await connection.flush()
    await connection.close()
