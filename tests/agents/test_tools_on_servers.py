"""Tools, talks and turns on real servers: a person's approval, a lock over two pods, a queue whose pod is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from actors.agents.client import Calling, Piece, Response, Result, Talk
from actors.sessions.session import Heard
from actors.turns import Turn
from actors.turns.client import TurnQueue
from runtime import CallFailed, Rejected
from schemas.approvals import MODULE
from tests.gateway.process import GatewayProcess
from tests.support.patience import PATIENCE_S
from tests.support.system import PodProcess, System, run, until

WORKSHOP = "tests.agents.workshop"


class Room(Struct):
    """What the tests of this module share."""

    system: System
    gateway: GatewayProcess
    path: Path
    pods: list[PodProcess] = []

    def start(self, pods: int = 1) -> None:
        """Starts as many as are missing."""
        while len(self.pods) < pods:
            self.pods.append(self.system.start_pod(WORKSHOP, MODULE))

    def kill(self) -> None:
        """All of them."""
        while self.pods:
            self.pods.pop().kill()

    def done(self) -> list[str]:
        """What the tools have written down."""
        path = self.path / "done"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="module")
def shared(shared_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    path = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TROUPE_TEST_WORKSHOP", str(path))
        with GatewayProcess(shared_system.environment()) as gateway:
            yield Room(shared_system, gateway, path)


@pytest.fixture
def room(shared: Room) -> Room:
    for name in ("done", "go"):
        (shared.path / name).unlink(missing_ok=True)
    return shared


def test_given_a_call_that_a_person_approves_when_the_pod_is_killed_before_that_then_it_is_done_once_and_streamed(
    room: Room,
) -> None:
    room.start()

    def waiting() -> str:
        page = room.gateway.http.get("/approvals").json()
        return next((str(one["id"]) for one in page["approvals"]), "")

    async def scenario() -> None:
        async with room.system.client() as client:
            talk = Talk(client, "treasurer", "s1")
            shown = []

            async def follow() -> None:
                async for one in talk.stream("Pay 900", id="m1", timeout_s=PATIENCE_S):
                    shown.append(one)

            following = asyncio.ensure_future(follow())
            id = await until(lambda: asyncio.to_thread(waiting))
            assert room.done() == []
            room.kill()
            await asyncio.to_thread(room.start)
            approve = f"/approvals/{id}/approve"
            answered = await asyncio.to_thread(room.gateway.http.post, approve, json={}, timeout=PATIENCE_S)
            assert answered.status_code == 200, answered.text
            await following
            kinds = [type(one) for one in shown if not isinstance(one, Piece)]
            assert kinds == [Calling, Result, Response]
            assert "".join(one.text for one in shown if isinstance(one, Piece)) == "[offline model] paid 900"
            assert (await talk.run("Pay 900", id="m1", timeout_s=PATIENCE_S)).text == "[offline model] paid 900"
            assert not await talk.cancel()

    run(scenario())
    assert room.done() == ["paid 900"]


def test_given_an_agent_at_work_when_more_is_said_then_it_is_refused_waits_or_interrupts_and_each_sayer_hears(
    room: Room,
) -> None:
    room.start()

    async def scenario() -> None:
        async with room.system.client() as client:
            talk = Talk(client, "treasurer", "s2")

            async def taken_back(heard: Heard, why: str) -> None:
                with pytest.raises(CallFailed, match=why) as caught:
                    await talk.answer(heard, timeout_s=PATIENCE_S)
                assert caught.value.code == "cancelled"

            first = await talk.say("Pay 900")
            with pytest.raises(Rejected, match="session s2 is at work on message 1"):
                await talk.say("Pay 901", when_busy="reject")
            second = await talk.say("Pay 902")
            assert (first.status, second.status) == ("running", "queued")
            third = await talk.run("Hello", when_busy="interrupt", timeout_s=PATIENCE_S)
            assert third.text == "[offline model] You said: Hello"
            await taken_back(first, "another message interrupts it")
            await taken_back(second, f"message {second.run} of session s2 was taken back")
            fourth, fifth = await talk.say("Pay 903"), await talk.say("Pay 904")
            assert await talk.cancel(fifth.run)
            assert await talk.cancel()
            await taken_back(fourth, "the session's user cancelled it")
            await taken_back(fifth, "was taken back")
            plan = await talk.plan("Pay 905")
            assert [step.tool for step in plan.steps] == ["pay"]

    run(scenario())
    assert room.done() == []


def test_given_a_tool_with_a_lock_when_sessions_on_two_pods_call_it_then_one_at_a_time(room: Room) -> None:
    sessions = [f"p{number}" for number in range(4)]
    room.start(2)

    async def scenario() -> None:
        async with room.system.client() as client:
            talks = [Talk(client, "presser", one) for one in sessions]
            await asyncio.gather(*[talk.run("Press 'it'", timeout_s=PATIENCE_S) for talk in talks])

    run(scenario())
    lines = room.done()
    assert len(lines) == 2 * len(sessions)
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert (entered.split()[0], left.split()[0]) == ("in", "out")
        assert entered.split()[1] == left.split()[1]


def test_given_a_queue_of_turns_when_its_pod_is_killed_in_one_then_its_values_come_once_and_what_it_enqueued_too(
    room: Room,
) -> None:
    room.start()

    async def scenario() -> None:
        async with room.system.client() as client:
            bench = TurnQueue(client, "mechanic", "bench")
            await bench.put(Turn("drill", (3,), metadata={"n": 1}), id="t1")
            await bench.put(Turn("check", kwargs={"holes": 0}), id="t2")
            values = []

            async def follow() -> None:
                async for turn, value in bench.run():
                    values.append((turn.tool, value))

            following = asyncio.ensure_future(follow())
            await until(lambda: len(values) == 2)
            left = await bench.to_dict()
            assert (left["current_turn"]["tool"], [one["tool"] for one in left["queue"]]) == ("drill", ["check"])
            room.kill()
            (room.path / "go").touch()
            await asyncio.to_thread(room.start)
            await following
            assert values == [("drill", 1), ("drill", None), ("drill", 3), ("check", "0 holes"), ("check", "3 holes")]
            assert [one.stop_reason for one in (await bench.status()).ended] == ["completed"] * 3
            other = TurnQueue(client, "mechanic", "another bench")
            await other.from_dict(left)
            again = [(turn.tool, value) async for turn, value in other.run()]
            assert again == values

    run(scenario())
    assert len(room.done()) == 4
