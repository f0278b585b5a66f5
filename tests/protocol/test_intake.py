"""The intake on real servers: intents become commands once, in order, whatever dies; malformed ones are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import nats
import pytest
from nats.js.api import StreamConfig

from actors import intake
from schemas.wire import Failure, Intent
from tests.protocol.conftest import Start
from tests.protocol.raw import Wire
from tests.protocol.sessions import adding, empty, ends, facts, serving
from tests.support.system import System, until

pytestmark = pytest.mark.anyio


async def test_given_intents_then_the_actor_does_them_and_the_session_shows_what_came_of_it(running: System) -> None:
    async with serving(running), running.client("acme") as client:
        ids = [await client.intent("room 1", adding("a.b *>", n)) for n in (1, 2)]
        seen = await facts(client, "room 1", ends(2))
        assert [(fact.type, fact.command, fact.key) for fact in seen if fact.type == "result"] == [
            ("result", id, "a.b *>") for id in ids
        ]
        assert await client.query("counter", "a.b *>", "value") == 3
        await until(lambda: empty(running))


async def test_given_an_intent_said_twice_then_it_is_done_once(running: System) -> None:
    async with serving(running), running.client() as client:
        for _ in range(3):
            await client.intent("twice", adding("twice", 5, id="the-same"))
        await client.intent("twice", adding("twice", 1, id="another"))
        await facts(client, "twice", lambda seen: any(fact.command == "another" for fact in seen))
        assert await client.query("counter", "twice", "value") == 6


async def test_given_many_intakes_one_of_them_killed_then_nothing_is_lost_and_each_session_is_in_order(
    running: System, start_intake: Start
) -> None:
    sessions, each = 10, 60
    intakes = [start_intake(running) for _ in range(3)]
    async with running.client() as client:
        for number in range(each):
            said = [client.intent(f"order-{s}", adding(f"order-{s}", number)) for s in range(sessions)]
            await asyncio.gather(*said)
            if number == each // 2:
                intakes[0].kill()
        for session in range(sessions):
            seen = await facts(client, f"order-{session}", ends(each))
            events = [fact for fact in seen if fact.type == "event"]
            assert [msgspec.json.decode(fact.data)["amount"] for fact in events] == list(range(each))
    await until(lambda: empty(running))


async def test_given_malformed_intents_then_each_is_answered_in_its_session_and_the_next_one_is_done(
    running: System,
) -> None:
    bodies = [b"", b"{", b"\xff", b'{"kind":"counter","key":"a"}', b'{"kind":"*","key":"a","method":"add"}']
    async with serving(running), running.client() as client:
        connection = client.connection
        for body in bodies:
            await connection.jetstream().publish("intent.default.bad", body)
        await client.intent("bad", adding("after-bad", 1, id="good"))
        seen = await facts(client, "bad", lambda seen: any(fact.command == "good" for fact in seen))
        errors = [msgspec.json.decode(fact.data, type=Failure) for fact in seen if fact.type == "error"]
        assert [error.code for error in errors] == ["bad_request"] * 4 + ["bad_address"]
        await facts(client, "bad", lambda seen: any(fact.type == "result" for fact in seen))
        await until(lambda: empty(running))


async def test_given_a_method_that_does_not_exist_then_the_session_shows_the_pods_error(running: System) -> None:
    async with serving(running), running.client() as client:
        await client.intent("nope", Intent("counter", "a", "nope"))
        [fact] = await facts(client, "nope", ends(1))
        assert msgspec.json.decode(fact.data, type=Failure).code == "unknown_method"


@pytest.fixture
def impatient(running: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it, an intent that nobody settles is left behind sooner."""
    monkeypatch.setattr(intake, "ACK_WAIT_S", 0.5)
    monkeypatch.setattr(intake, "WATCH_S", 0.2)
    asyncio.run(forget_consumers(running))  # they have been made with the longer wait
    yield
    asyncio.run(forget_consumers(running))


async def forget_consumers(system: System) -> None:
    connection = await nats.connect(system.nats_url)
    jetstream = connection.jetstream()
    for consumer in await jetstream.consumers_info("INTENT"):
        await jetstream.delete_consumer("INTENT", consumer.name)
    await connection.close()


async def deliveries(system: System) -> int:
    """How often intents have been handed to intakes."""
    connection = await nats.connect(system.nats_url)
    consumers = await connection.jetstream().consumers_info("INTENT")
    await connection.close()
    return sum(consumer.delivered.consumer_seq for consumer in consumers if consumer.delivered is not None)


@pytest.mark.parametrize("status", ["503", "404", "100", "nonsense"])
async def test_given_an_intent_that_passes_for_a_status_message_then_it_is_done_like_any_other(
    running: System, status: str
) -> None:
    session, key = f"status-{status}", f"poison-{status}"
    async with serving(running), running.client() as client:
        before = await deliveries(running)
        body = msgspec.json.encode(adding(key, 1, id=key))
        subject = f"intent.default.{session}"
        await client.connection.jetstream().publish(subject, body, headers={"Status": status, "Description": "x"})
        await client.intent(session, adding(key, 2, id=f"healthy-{status}"))
        seen = await facts(client, session, ends(2))
        assert [fact.command for fact in seen if fact.type == "result"] == [key, f"healthy-{status}"]
        await until(lambda: empty(running))
        assert await deliveries(running) == before + 2, "the broker had to say it again"


async def test_given_intents_on_subjects_that_are_no_text_then_they_are_settled_and_the_next_one_is_done(
    running: System, impatient: None
) -> None:
    wire = Wire(running.nats_url)
    for subject in (b"intent.default.\xff", b"intent.default.a\x0bb", b"intent.a\x00b.s", b"intent.default.a\x00b"):
        wire.publish(subject, body=msgspec.json.encode(adding("hostile", 1)))
    wire.close()
    async with serving(running), running.client() as client:
        for number in range(20):  # in every lane
            await client.intent(f"friendly-{number}", adding("friendly", 1))
        for number in range(20):
            await facts(client, f"friendly-{number}", ends(1))
        await until(lambda: empty(running))
    assert running.sql("SELECT count(*) FROM actors WHERE key = 'hostile'") == [(0,)]


async def test_given_a_stream_made_anew_then_the_intake_goes_on_with_it(
    running: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "WATCH_S", 0.2)
    async with serving(running), running.client() as client:
        jetstream = client.connection.jetstream()
        config: StreamConfig = (await jetstream.stream_info("INTENT")).config
        await jetstream.delete_stream("INTENT")
        await asyncio.sleep(0.5)
        await jetstream.add_stream(config)
        await client.intent("anew", adding("anew", 3))
        await facts(client, "anew", ends(1))
        assert await client.query("counter", "anew", "value") == 3
