"""An agent on real servers, whose pod is killed in the middle of its calls."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from actors.sessions.session import Heard, Status, session
from actors.sessions.transcript import Line
from runtime.client import Client
from tests.support.model_server import Calls, Hangs, ModelServer, Says
from tests.support.system import System, run, until

DESK = "tests.agents.desk"
LOADED = ("tests.support.loaded",)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TROUPE_TEST_DESK", str(tmp_path))
    monkeypatch.setenv("RUNTIME_FLEET", str(tmp_path / "fleet.yaml"))
    return tmp_path


def fleet(room: Path, server: ModelServer) -> None:
    generate = {"model": "openai/stand-in", "api_base": server.url, "timeout_s": 600}
    (room / "fleet.yaml").write_bytes(msgspec.yaml.encode({"fleet": {"generate": generate}}))


async def settled(client: Client) -> None:
    async def idle() -> bool:
        found = await client.query(session, "s1", "status", type=Status)
        return found.running is None and not found.waiting

    await until(idle)


def test_given_a_pod_that_is_killed_in_a_model_call_and_in_a_tool_call_then_the_answer_still_comes_once(
    system: System, room: Path
) -> None:
    booked, hold = room / "booked", room / "hold"
    hold.touch()
    with ModelServer() as server:
        fleet(room, server)
        server.script(Hangs(), Calls("book", '{"item": "a lamp"}'), Says("It is booked."), Says("You are welcome."))

        async def scenario() -> list[Line]:
            pod = system.start_pod(DESK, also=LOADED)
            async with system.client() as client:
                say = {"text": "Book a lamp", "agent": "clerk"}
                heard = await client.ask(session, "s1", "say", say, id="m1", type=Heard)
                assert heard.status == "running"
                await until(lambda: server.calls == 1)
                pod.kill()
                pod = await asyncio.to_thread(system.start_pod, DESK, also=LOADED)
                await until(booked.exists)
                thanks = {"text": "Thanks", "agent": "clerk"}
                assert (await client.ask(session, "s1", "say", thanks, type=Heard)).status == "queued"
                pod.kill()
                hold.unlink()
                await asyncio.to_thread(system.start_pod, DESK, also=LOADED)
                await settled(client)
                again = await client.ask(session, "s1", "say", say, id="m1", type=Heard)
                assert again == heard
                return await client.query(session, "s1", "history", {}, type=list[Line])  # type: ignore[no-any-return]  # read as `type`

        lines = run(scenario())
    assert [(line.message.role, line.message.content) for line in lines] == [
        ("user", "Book a lamp"),
        ("assistant", ""),
        ("tool", "booked a lamp"),
        ("assistant", "It is booked."),
        ("user", "Thanks"),
        ("assistant", "You are welcome."),
    ]
    # What waited behind an answer is asked with that answer before it.
    assert [message["content"] for message in server.requests[-1]["messages"]][-2:] == ["It is booked.", "Thanks"]
    # The call that hung was not answered, and was made anew; the others were paid for once.
    assert server.calls == 4
    # A tool that was cut off is called again, under the same key.
    first, second = booked.read_text().splitlines()
    assert first == second
