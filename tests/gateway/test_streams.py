"""Watching sessions: in order, from anywhere, across what interrupts them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import psutil
import pytest

from runtime.client import Client
from tests.gateway.process import Event, GatewayProcess, error_of
from tests.support.system import System, run, until


def facts(events: Iterator[Event], count: int) -> list[Event]:
    """The next facts, without signs of life."""
    found: list[Event] = []
    for event in events:
        if event.name != "comment":
            found.append(event)
        if len(found) == count:
            break
    return found


def shown(events: list[Event]) -> list[tuple[str, object]]:
    """(type, data) of facts."""
    return [(event.data["type"], event.data["data"]) for event in events]


def add(gateway: GatewayProcess, session: str, amount: int, key: str = "watched") -> None:
    """One command in a session: an event and a result."""
    assert gateway.intent("counter", key, "add", {"amount": amount}, session=session).status_code == 200


@pytest.mark.parametrize("path", ["/stream/s1", "/stream/s1?format=ndjson"])
def test_given_a_session_then_its_facts_come_those_before_and_those_after(
    shared_gateway: GatewayProcess, path: str
) -> None:
    key = f"before-and-after{path}"
    session = f"s1{len(path)}"
    add(shared_gateway, session, 3, key)
    add(shared_gateway, "another", 99, key)
    with shared_gateway.stream(path.replace("s1", session)) as events:
        before = facts(events, 2)
        add(shared_gateway, session, 4, key)
        after = facts(events, 2)
    assert shown(before) == [("event", {"amount": 3}), ("result", 3)]
    assert shown(after) == [("event", {"amount": 4}), ("result", 106)]
    ids = [int(event.id or 0) for event in before + after]
    assert ids == sorted(set(ids))


def test_given_the_last_id_then_another_gateway_goes_on_behind_it(
    shared_gateway: GatewayProcess, world: System
) -> None:
    for amount in (1, 2, 3):
        add(shared_gateway, "resumed", amount, "resumed")
    with shared_gateway.stream("/stream/resumed") as events:
        seen = facts(events, 3)
    with GatewayProcess(world.environment()) as other:
        with other.stream("/stream/resumed", **{"Last-Event-ID": str(seen[-1].id)}) as events:
            rest = facts(events, 3)
        with other.stream(f"/stream/resumed?since={seen[0].id}") as events:
            assert [event.id for event in facts(events, 5)] == [event.id for event in (seen + rest)[1:]]
        with other.stream("/stream/resumed?since=new") as events:
            assert next(events).name == "comment"
            add(shared_gateway, "resumed", 50, "resumed")
            assert shown(facts(events, 1)) == [("event", {"amount": 50})]
    assert shown(seen + rest) == [
        ("event", {"amount": 1}),
        ("result", 1),
        ("event", {"amount": 2}),
        ("result", 3),
        ("event", {"amount": 3}),
        ("result", 6),
    ]


def test_given_an_id_that_the_stream_never_had_then_the_reader_is_reset_and_the_log_tells_the_facts(
    shared_gateway: GatewayProcess,
) -> None:
    add(shared_gateway, "reset", 1, "reset")
    add(shared_gateway, "reset", 2, "reset")
    with shared_gateway.stream("/stream/reset") as events:
        facts(events, 4)  # answers do not wait for facts: these are in the stream now
    with shared_gateway.stream("/stream/reset", **{"Last-Event-ID": "999999999"}) as events:
        reset, first, second, live = facts(events, 4)
        add(shared_gateway, "reset", 3, "reset")
        following = facts(events, 2)
    assert (reset.name, reset.data["reason"], reset.id) == ("reset", "ahead", None)
    assert shown([first, second]) == [("event", {"amount": 1}), ("event", {"amount": 2})]
    assert first.id is None, "a reader that breaks off here must be reset again"
    assert (live.name, int(live.id or 0)) == ("live", reset.data["last"])
    assert shown(following) == [("event", {"amount": 3}), ("result", 6)]
    assert [fact.data["seq"] for fact in (first, second, following[0])] == [1, 2, 3]


def test_given_a_fact_that_comes_late_when_the_log_told_it_after_a_reset_then_the_stream_does_not_tell_it_again(
    shared_gateway: GatewayProcess, world: System
) -> None:
    add(shared_gateway, "late", 1, "late")
    with shared_gateway.stream("/stream/late") as events:
        event, _ = facts(events, 2)

    async def publish_again() -> None:
        async with await Client.connect(world.nats_url) as client:
            await client.connection.jetstream().publish("ev.default.late", json.dumps(event.data).encode())

    with shared_gateway.stream("/stream/late", **{"Last-Event-ID": "999999999"}) as events:
        assert [fact.name for fact in facts(events, 3)] == ["reset", "message", "live"]
        asyncio.run(publish_again())
        add(shared_gateway, "late", 2, "late")
        assert shown(facts(events, 2)) == [("event", {"amount": 2}), ("result", 3)]


def test_given_an_id_older_than_the_stream_then_the_reader_is_reset(
    shared_gateway: GatewayProcess, world: System
) -> None:
    for amount in (1, 2, 3):
        add(shared_gateway, "old", amount, "old")

    async def trim() -> None:
        async with await Client.connect(world.nats_url) as client:
            jetstream = client.connection.jetstream()
            last = (await jetstream.stream_info("EV")).state.last_seq
            await jetstream.purge_stream("EV", seq=last)

    asyncio.run(trim())
    with shared_gateway.stream("/stream/old", **{"Last-Event-ID": "1"}) as events:
        reset, *told = facts(events, 5)
    assert (reset.name, reset.data["reason"]) == ("reset", "behind")
    assert shown(told[:3]) == [("event", {"amount": amount}) for amount in (1, 2, 3)]
    assert told[3].name == "live"


def test_given_a_stream_made_anew_while_it_is_watched_then_the_reader_is_reset_and_goes_on(world: System) -> None:
    async def make_anew() -> None:
        async with await Client.connect(world.nats_url) as client:
            jetstream = client.connection.jetstream()
            config = (await jetstream.stream_info("EV")).config
            await jetstream.delete_stream("EV")
            await jetstream.add_stream(config)

    with GatewayProcess(world.environment()) as gateway:
        add(gateway, "anew", 1, "anew")
        with gateway.stream("/stream/anew") as events:
            assert len(facts(events, 2)) == 2
            asyncio.run(make_anew())
            reset, first, live = facts(events, 3)
            assert (reset.name, shown([first]), live.name) == ("reset", [("event", {"amount": 1})], "live")
            add(gateway, "anew", 2, "anew")
            assert shown(facts(events, 1)) == [("event", {"amount": 2})]


def test_given_a_quiet_session_then_signs_of_life_come(world: System) -> None:
    with (
        GatewayProcess(world.environment(stream_heartbeat_s=0.1)) as gateway,
        gateway.stream("/stream/quiet") as events,
    ):
        assert [next(events).data for _ in range(3)] == ["watching", "heartbeat", "heartbeat"]


def test_given_the_gateway_ends_then_streams_close_at_once_with_a_word(world: System) -> None:
    with GatewayProcess(world.environment(grace_s=300)) as gateway:
        add(gateway, "closing", 1, "closing")
        with gateway.stream("/stream/closing") as events:
            facts(events, 2)
            assert gateway.process.poll() is None
            gateway.process.terminate()
            rest = list(events)
        assert rest[-1].name == "comment"
        assert "connect again" in rest[-1].data
        assert gateway.process.wait(60) == 0


def test_given_readers_that_go_then_the_broker_keeps_no_cursor_for_them(world: System) -> None:
    async def cursors() -> int:
        async with await Client.connect(world.nats_url) as client:
            return int((await client.connection.jetstream().stream_info("EV")).state.consumer_count)

    with GatewayProcess(world.environment()) as gateway:
        before = asyncio.run(cursors())
        with (
            gateway.stream("/stream/left") as events,
            gateway.stream("/stream/left") as same,
            gateway.stream("/stream/also-left?since=new") as others,
        ):
            assert [next(stream).data for stream in (events, same, others)] == ["watching"] * 3
            assert asyncio.run(cursors()) == before + 1, "all who watch share one"
        asyncio.run(until(lambda: asyncio.to_thread(lambda: asyncio.run(cursors()) == before)))


def readers(gateway: GatewayProcess) -> set[int]:
    """The ports from which somebody is connected to a gateway, as far as that knows."""
    found = psutil.Process(gateway.process.pid).net_connections("tcp")
    return {one.raddr.port for one in found if one.raddr}


def test_given_a_reader_that_takes_nothing_then_it_is_cut_off_and_others_go_on(world: System) -> None:
    with GatewayProcess(world.environment(stream_stall_s=2.0)) as gateway:
        text = "x" * 100_000
        host, port = gateway.url.removeprefix("http://").split(":")
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((host, int(port)))
        stuck.sendall(f"GET /stream/flood HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert stuck.recv(12) == b"HTTP/1.1 200"

        async def flood() -> None:
            async with await Client.connect(world.nats_url) as client:
                body = json.dumps({"type": "event", "command": "c", "text": text}).encode()
                for _ in range(100):
                    await client.connection.jetstream().publish("ev.default.flood", body)

        asyncio.run(flood())
        with gateway.stream("/stream/flood") as events:
            assert len(facts(events, 100)) == 100
        mine = stuck.getsockname()[1]
        run(until(lambda: mine not in readers(gateway)))
        taken = 0
        stuck.settimeout(60)
        try:
            while chunk := stuck.recv(1_000_000):
                taken += len(chunk)
        except ConnectionResetError:
            pass
        assert taken < 100 * len(text)
        stuck.close()


def test_given_a_session_that_no_one_can_have_then_it_is_refused(shared_gateway: GatewayProcess) -> None:
    assert error_of(shared_gateway.http.get("/stream/" + "s" * 300)) == (400, "bad_address")
