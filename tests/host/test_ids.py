"""A command is known by its id, to its own actor alone, and to nobody but the inbox."""

from __future__ import annotations

from functools import partial

import nats

from tests.host.test_broker import recreate_stream
from tests.host.test_sending import LARGE, diary, limit_stream, teller
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

SUBJECT = "cmd.default.counter.a.add"


def counted(system: System, events: int) -> bool:
    """Whether the log holds so many."""
    return bool(system.sql("SELECT count(*) FROM events") == [(events,)])


def test_given_one_id_when_two_actors_or_two_tenants_use_it_then_each_is_done(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, system.client("acme") as other:
            assert await client.ask(counter, "a", Add(1), id="one") == 1
            assert await client.ask(counter, "b", Add(2), id="one") == 2
            assert await other.ask(counter, "a", Add(3), id="one") == 3
            assert await client.ask(counter, "b", Add(2), id="one") == 2, "the repeat has its own actor's answer"

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(3,)]


def test_given_commands_without_an_id_when_the_stream_begins_again_then_each_counts(system: System) -> None:
    """The second one has the first one's sequence: its time tells them apart."""

    async def scenario() -> None:
        connection = await nats.connect(system.nats_url)
        async with system.pod(counter), system.client() as client:
            js = connection.jetstream()
            for count in (1, 2):
                assert (await js.publish(SUBJECT, b'{"amount":1}')).seq == 1
                await until(partial(counted, system, count))
                await recreate_stream(system)
            assert await client.query(counter, "a", "value") == 2
        await connection.close()

    run(scenario())


def test_given_commands_from_everywhere_when_they_are_stored_then_the_broker_is_told_no_id_of_its_own(
    system: System,
) -> None:
    """Within its window it would swallow the very repeat that brings a lost answer back."""

    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", Add(2))
            await client.tell(counter, "a", Add(1))
            await client.ask(counter, "a", "forward", {"to": "b", "amount": 1})
            js = pod.connection.jetstream()
            stored = [await js.get_msg("CMD", seq) for seq in range(1, 5)]
            assert [message.headers is not None and "Troupe-Id" in message.headers for message in stored] == [True] * 4
            assert all("Nats-Msg-Id" not in (message.headers or {}) for message in stored)

    run(scenario())


NOTES = "SELECT (payload->>'size')::int FROM log WHERE key = 'a' ORDER BY seq"


def test_given_a_message_to_another_actor_when_the_broker_does_not_take_it_then_the_next_owner_sends_it(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(diary, teller, drain_s=0.2) as pod:
                before = (await pod.connection.jetstream().stream_info("CMD")).config.max_bytes
                await limit_stream(pod, LARGE // 2)
                await client.ask(teller, "t", "tell", {"sizes": [LARGE]})
                assert system.sql("SELECT count(*) FROM outbox") == [(1,)]
            async with system.pod(diary, teller) as pod:
                await limit_stream(pod, before or -1)
                await until(lambda: system.sql(NOTES) == [(LARGE,)])
                await until(lambda: system.sql("SELECT count(*) FROM outbox") == [(0,)])

    run(scenario())


def test_given_messages_that_are_in_flight_when_more_come_then_these_wait_for_their_acknowledgement(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(diary, teller) as pod, system.client() as client:
            before = (await pod.connection.jetstream().stream_info("CMD")).config.max_bytes
            await limit_stream(pod, LARGE // 2)
            for size in (LARGE, 1, 2, 3):
                await client.ask(teller, "t", "tell", {"sizes": [size]})
            await limit_stream(pod, before or -1)
            await until(lambda: len(system.sql(NOTES)) >= 4)
            await until(lambda: system.sql("SELECT count(*) FROM outbox") == [(0,)])
            assert system.sql(NOTES) == [(LARGE,), (1,), (2,), (3,)]
            js = pod.connection.jetstream()
            last = (await js.stream_info("CMD")).state.last_seq
            stored = [(await js.get_msg("CMD", seq)).subject for seq in range(1, last + 1)]
            assert len([subject for subject in stored if subject and ".diary.a." in subject]) == 4, "each was sent once"
            assert not pod.failed.is_set()

    run(scenario())
