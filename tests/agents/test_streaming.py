"""What an agent shows, on real servers: through the death of its pod, of the gateway, and by the official client."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ag_ui.core.events import Event as AguiEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import connect

from tests.gateway.agui_rules import check_order, text_of
from tests.gateway.process import Event, GatewayProcess, error_of, events_of
from tests.support.model_server import Calls, Holds, ModelServer, Says
from tests.support.system import ROOT, System

DESK = "tests.agents.desk"
CLIENT = ROOT / "tests" / "gateway" / "agui"
AGUI: TypeAdapter[Any] = TypeAdapter(AguiEvent)


class Room:
    """A system with a pod and a gateway, and the server of its model."""

    def __init__(self, system: System, path: Path, model: ModelServer) -> None:
        self.system = system
        self.path = path
        self.model = model
        self.pod = system.start_pod(DESK)
        self.released: set[str] = set()

    def holds(self, text: str, mark: str) -> Holds:
        """An answer whose end waits for `mark` to be released."""
        return Holds(text, lambda: mark in self.released)


@pytest.fixture(scope="module")
def room(shared_system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    path = tmp_path_factory.mktemp("room")
    with ModelServer() as model, pytest.MonkeyPatch.context() as patch:
        generate = {"model": "openai/stand-in", "api_base": model.url, "timeout_s": 600}
        (path / "fleet.yaml").write_bytes(msgspec.yaml.encode({"fleet": {"generate": generate}}))
        patch.setenv("TROUPE_TEST_DESK", str(path))
        patch.setenv("RUNTIME_FLEET", str(path / "fleet.yaml"))
        yield Room(shared_system, path, model)


@pytest.fixture(scope="module")
def gateway(room: Room) -> Iterator[GatewayProcess]:
    with GatewayProcess(room.system.environment()) as process:
        yield process


def say(gateway: GatewayProcess, session: str, id: str, text: str = "Hi") -> None:
    body = {"text": text, "agent": "clerk"}
    assert gateway.intent("session", session, "say", body, session=session, id=id).status_code == 200


def agui(events: Iterator[Event], *, until: str = "", ends: int = 1) -> list[Event]:
    """Events up to one of a type (or, with a colon, whose text holds what follows that), or the end of some runs."""
    found: list[Event] = []
    for event in events:
        if event.name == "comment":
            continue
        AGUI.validate_python(event.data)
        found.append(event)
        type_, _, words = until.partition(":")
        if event.data["type"] == type_ and words in json.dumps(event.data):
            break
        ends -= event.data["type"] in ("RUN_FINISHED", "RUN_ERROR")
        if not ends:
            break
    return found


def data(events: list[Event]) -> list[dict[str, Any]]:
    return [event.data for event in events]


def test_given_a_pod_that_is_killed_in_the_middle_of_an_answer_then_who_watches_sees_it_superseded_and_whole_once(
    room: Room, gateway: GatewayProcess
) -> None:
    room.model.script(room.holds("It was", "never"), Says("It is on its way."))
    with gateway.stream("/stream/k1?protocol=agui") as events, gateway.stream("/stream/k1") as facts:
        say(gateway, "k1", "k1-m1")
        before = agui(events, until="TEXT_MESSAGE_CONTENT:as")
        room.pod.kill()
        room.pod = room.system.start_pod(DESK)
        after = agui(events)
        shown = []
        for event in facts:
            if event.name == "message":
                shown.append(event.data)
                if event.data["type"] == "result" and event.data["kind"] == "clerk":
                    break
    whole = data(before + after)
    check_order(whole)
    assert text_of(whole) == ["It is on its way."]
    void = next(event for event in whole if event["type"] == "CUSTOM")
    assert (void["name"], void["value"]["messageIds"]) == ("superseded", ["k1-m1.1"])
    snapshot = next(event for event in whole if event["type"] == "MESSAGES_SNAPSHOT")
    assert [(message["role"], message["content"]) for message in snapshot["messages"]][:1] == [("user", "Hi")]
    attempts = [fact["attempt"] for fact in shown if fact["type"] == "progress"]
    assert attempts == sorted(attempts)
    assert len(set(attempts)) == 2
    thoughts = [one for one in shown if one["name"] == "troupe.step"]
    assert [one["data"]["result"]["message"]["content"] for one in thoughts] == ["It is on its way."]
    assert thoughts[0]["position"]
    assert room.model.calls == 2


def test_given_a_gateway_that_is_killed_in_the_middle_of_an_answer_then_its_reader_goes_on_at_another(
    room: Room, gateway: GatewayProcess
) -> None:
    room.model.script(room.holds("It is on its way to you", "k2"))
    with GatewayProcess(room.system.environment()) as other:
        with other.stream("/stream/k2?protocol=agui") as events:
            say(gateway, "k2", "k2-m1")
            before = agui(events, until="TEXT_MESSAGE_CONTENT:It")
        other.process.kill()
    while before[-1].id is None:  # of what one entry had led to, only a part has come
        before.pop()
    resume = {"Last-Event-ID": before[-1].id}
    with (
        gateway.stream("/stream/k2?protocol=agui", **resume) as events,
        gateway.stream("/stream/k2?protocol=agui&since=new&format=ndjson") as joined,
    ):
        room.released.add("k2")
        after, late = agui(events), agui(joined)
    check_order(data(before + after))
    assert text_of(data(before + after)) == ["It is on its way to you"]
    # Who joins in the middle is told the run from its beginning.
    check_order(data(late))
    assert text_of(data(late)) == ["It is on its way to you"]

    async def by_socket() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with connect(f"{gateway.url.replace('http', 'ws')}/stream/k2?protocol=agui") as socket:
            while not found or found[-1]["event"]["type"] != "RUN_FINISHED":
                found.append(json.loads(await socket.recv()))
        return found

    messages = asyncio.run(by_socket())
    assert [message["event"] for message in messages] == data(before + after)
    assert {message["id"] for message in messages if "id" in message} >= {int(before[-1].id)}


def test_given_a_message_by_agui_then_its_run_is_streamed_once_and_again_when_it_is_sent_again(
    room: Room, gateway: GatewayProcess
) -> None:
    room.model.script(Calls("book", '{"item": "a lamp"}'), Says("It is booked."))
    said = {
        "threadId": "k3", "runId": "k3-r1", "state": {"city": "Ulm"}, "tools": [], "context": [], "forwardedProps": {},
        "messages": [{"id": "u1", "role": "user", "content": [{"type": "text", "text": "Book a lamp"}]}],
    }  # fmt: skip
    answers = []
    for _ in range(2):
        calls = room.model.calls
        with gateway.http.stream("POST", "/agui/clerk", json=said) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            answers.append(data(agui(events_of(response))))
    check_order(answers[0])
    assert text_of(answers[0]) == ["It is booked."]
    assert [one for one in answers[1] if one["type"] != "STATE_DELTA"] == [
        one for one in answers[0] if one["type"] != "STATE_DELTA"
    ]
    assert room.model.calls == calls
    results = [event["content"] for event in answers[0] if event["type"] == "TOOL_CALL_RESULT"]
    assert results == ["booked a lamp"]


MESSAGE = {"id": "u1", "role": "user", "content": "Hi"}
WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("/agui/nobody", {}, 404, "unknown_kind"),
    ("/agui", {"runId": "with space"}, 400, "bad_request"),
    ("/agui/clerk", {"messages": []}, 400, "bad_request"),
    ("/agui/clerk", {"messages": [MESSAGE | {"role": "assistant"}]}, 400, "bad_request"),
    ("/agui/clerk", {"messages": [MESSAGE | {"content": "  "}]}, 409, "rejected"),
    ("/agui/clerk", {"messages": [MESSAGE | {"content": [{"type": "image"}]}]}, 400, "bad_request"),
    ("/agui/clerk", {"messages": [7]}, 400, "bad_request"),
    ("/agui/clerk", {"forwardedProps": {"when_busy": "shout"}}, 400, "invalid_arguments"),
    ("/agui", {"forwardedProps": {"agent": 7}}, 400, "bad_request"),
]


def test_given_what_cannot_be_said_or_watched_then_the_error_says_why(room: Room, gateway: GatewayProcess) -> None:
    for number, (path, change, status, code) in enumerate(WRONG):
        body = {"threadId": "k4", "runId": f"k4-r{number}", "messages": [MESSAGE]} | change
        assert error_of(gateway.http.post(path, json=body)) == (status, code), (path, change)
    for query, status in (("protocol=morse", 400), ("protocol=agui&since=9999999", 404), ("since=x", 400)):
        assert error_of(gateway.http.get(f"/stream/k4?{query}"))[0] == status

    async def refused(path: str, **headers: str) -> tuple[str, int | None]:
        url = gateway.url.replace("http", "ws")
        async with connect(f"{url}{path}", additional_headers=headers) as socket:
            message = json.loads(await socket.recv())
            await socket.wait_closed()
            return message["data"]["error"]["code"], socket.close_code

    assert asyncio.run(refused("/stream/k4?protocol=agui&since=9999999")) == ("not_found", 1008)
    assert asyncio.run(refused("/stream/k4", Origin="http://elsewhere.example")) == ("forbidden", 1008)


@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="needs node and npm")
def test_given_the_official_client_then_it_takes_every_event_and_has_the_conversation(
    room: Room, gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("agui")
    for name in ("package.json", "follow.mjs"):
        shutil.copy(CLIENT / name, folder / name)
    made = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip(f"npm cannot install the client here: {made.stderr[-200:]}")
    room.model.script(room.holds("Wr", "never again"), Calls("book", '{"item": "a chair"}'), Says("A chair is booked."))
    command = ["node", "follow.mjs", f"{gateway.url}/agui/clerk", "k5", "k5-r1", "Book a chair"]
    calls = room.model.calls
    with gateway.stream("/stream/k5?protocol=agui") as events:
        client = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env={**os.environ})
        agui(events, until="TEXT_MESSAGE_CONTENT:Wr")
        room.pod.kill()
        room.pod = room.system.start_pod(DESK)
        out, _ = client.communicate()
    assert client.returncode == 0
    seen = json.loads(out)
    assert seen["types"][0] == "RUN_STARTED"
    assert seen["types"][-1] == "RUN_FINISHED"
    assert [(one["role"], one["content"]) for one in seen["messages"] if one.get("content")] == [
        ("user", "Book a chair"),
        ("tool", "booked a chair"),
        ("assistant", "A chair is booked."),
    ]
    assert room.model.calls == calls + 3
