"""The outbox: what the broker refuses, what is too large for it, and what should not be there."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from msgspec import Struct

from runtime.entity import entity
from runtime.host.pod import Pod
from runtime.turn import Turn
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

LARGE = 900_000


class Noted(Struct, frozen=True):
    size: int


def add_size(state: int, event: Noted) -> int:
    """The fold of `diary`."""
    return state + event.size


diary = entity("diary", initial=0, apply=add_size)


@diary.command
def note(state: int, text: str) -> Noted:
    return Noted(len(text))


@diary.command
def recite(state: int, size: int, ctx: Turn) -> Noted:
    """Answers with so many characters."""
    ctx.reply("x" * size)
    return Noted(0)


class Told(Struct, frozen=True):
    pass


def add_one(state: int, event: Told) -> int:
    """The fold of `teller`."""
    return state + 1


teller = entity("teller", initial=0, apply=add_one)


@teller.command
def tell(state: int, sizes: list[int], ctx: Turn) -> Told:
    """Has the diary `a` note texts of these sizes."""
    for size in sizes:
        ctx.tell(diary, "a", "note", {"text": "x" * size})
    return Told()


async def limit_stream(pod: Pod, max_bytes: int) -> None:
    """Gives CMD another size."""
    js = pod.connection.jetstream()
    config = (await js.stream_info("CMD")).config
    config.max_bytes = max_bytes
    await js.update_stream(config)


def test_given_a_message_that_the_broker_refuses_when_it_takes_it_later_then_none_behind_it_was_faster(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(diary, teller) as pod, system.client() as client:
            before = (await pod.connection.jetstream().stream_info("CMD")).config.max_bytes
            await limit_stream(pod, LARGE // 2)
            await client.ask(teller, "t", "tell", {"sizes": [1, LARGE, 2, 3]})
            await until(lambda: system.sql("SELECT payload::text FROM log WHERE key = 'a'") == [('{"size":1}',)])
            await asyncio.sleep(1.0)  # it is tried again, and refused
            await limit_stream(pod, before or -1)
            await until(lambda: system.sql("SELECT count(*) FROM log WHERE key = 'a'") == [(4,)])

    run(scenario())
    rows = system.sql("SELECT payload::text FROM log WHERE key = 'a' ORDER BY seq")
    assert [msgspec.json.decode(text)["size"] for (text,) in rows] == [1, LARGE, 2, 3]


def test_given_a_result_too_large_for_a_message_when_committed_then_the_sessions_stream_says_so(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(diary) as pod, system.client() as client:
            await client.tell(diary, "a", "recite", {"size": 1_200_000}, session="s")
            await client.tell(diary, "a", "recite", {"size": 3}, session="s")
            js = pod.connection.jetstream()
            await until(lambda: system.sql("SELECT count(*) FROM inbox") == [(2,)])
            await until(lambda: system.sql("SELECT count(*) FROM outbox") == [(0,)])
            facts = [msgspec.json.decode((await js.get_msg("EV", seq)).data or b"") for seq in (1, 2, 3, 4)]
            assert [fact["type"] for fact in facts] == ["event", "error", "event", "result"]
            assert facts[1]["data"]["code"] == "too_large"
            assert "1200002 bytes" in facts[1]["data"]["message"]
            assert facts[1]["command"] == facts[0]["command"]

    run(scenario())


def test_given_a_row_that_cannot_be_sent_when_its_lane_is_taken_then_the_pod_ends_and_says_what_failed(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", Add(1))
            assert not pod.failed.is_set()
        columns = "lane, ord, message_id, subject, headers, body"
        system.sql(f"INSERT INTO outbox ({columns}) VALUES (3, 1, 'm', 's', 'no headers', '')")
        async with system.pod(counter) as pod:
            await until(pod.failed.is_set)

    run(scenario())
    assert "sending the outbox of lane 3 failed" in caplog.text
