"""Sentences on real servers, without a model: over HTTP, over NATS and on the command line, to the answer."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from actors.sessions.session import Status, session
from actors.sessions.transcript import Line
from gateway.sentences import is_sentence, sentence_of
from runtime.client.saying import answered, answering, say
from runtime.errors import CallFailed
from schemas.conversation import KIND, ROUTER
from tests.cli.command import Runtime
from tests.gateway.process import GatewayProcess, error_of
from tests.protocol.sessions import facts, serving
from tests.support.patience import PATIENCE_S
from tests.support.system import System, run, until

ERRANDS = "tests.agents.errands"
HOURS = "[offline model] You said: When does the library open?"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    room = tmp_path_factory.mktemp("room")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TROUPE_TEST_DESK", str(room))
        patch.delenv("RUNTIME_FLEET", raising=False)
        yield room


@pytest.fixture(scope="module")
def world(shared_system: System, room: Path) -> System:
    shared_system.start_pod(ERRANDS)
    return shared_system


@pytest.fixture(scope="module")
def gateway(world: System) -> Iterator[GatewayProcess]:
    with GatewayProcess(world.environment()) as process:
        yield process


def answer(gateway: GatewayProcess, key: str, **body: Any) -> dict[str, Any]:
    """The answer to a sentence, asked for under one key until it is there."""
    end = time.monotonic() + PATIENCE_S
    while True:
        given = gateway.http.post("/intent", json=body | {"wait_s": 60}, headers={"idempotency-key": key})
        if given.status_code == 200:
            found: dict[str, Any] = given.json()
            return found
        assert given.status_code == 202, given.text
        assert time.monotonic() < end


def test_given_a_pod_with_agents_then_sessions_and_the_router_are_served_as_well(
    gateway: GatewayProcess, world: System
) -> None:
    kinds = {one["kind"]: one.get("skill") for one in gateway.http.get("/capabilities").json()}
    assert {"porter", "librarian", KIND, ROUTER} <= kinds.keys()
    assert kinds["librarian"]["examples"] == ["when does the library open"]
    listed = Runtime(world.environment(), Path.cwd()).ok("capabilities", "list", "--json").json["capabilities"]
    assert [(one["name"], one["served"]) for one in listed] == [("librarian", True), ("porter", True)]


def test_given_a_sentence_over_http_then_the_answer_is_that_of_the_capability_that_it_means(
    gateway: GatewayProcess,
) -> None:
    found = answer(gateway, "once", text="When does the library open?", session="h1")
    assert (found["agent"], found["text"], found["session"]) == ("librarian", HOURS, "h1")
    assert answer(gateway, "once", text="When does the library open?", session="h1") == found
    known = gateway.http.get(f"/runs/{found['run_id']}").json()
    assert (known["status"], known["kind"], known["result"]["text"]) == ("done", ROUTER, HOURS)
    strange = answer(gateway, "strange", text="xyzzy", session="h2")
    assert strange["text"].startswith("Nothing here fits that. What there is:")


def test_given_a_sentence_that_is_streamed_then_its_events_are_the_sessions_until_the_answer(
    gateway: GatewayProcess,
) -> None:
    body = {"text": "When does the library open?", "mode": "stream"}
    with gateway.http.stream("POST", "/intent", json=body) as response:
        text = "".join(response.iter_text())
    data = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert {one.get("kind") for one in data} >= {KIND, ROUTER, "librarian"}
    assert (data[-1]["type"], data[-1]["kind"], data[-1]["data"]["text"]) == ("result", ROUTER, HOURS)


def test_given_a_sentence_that_is_no_text_then_it_is_refused_for_that_and_not_as_a_command() -> None:
    assert is_sentence(b'{"text": "\\ud800"}')
    with pytest.raises(CallFailed, match="not valid JSON"):
        sentence_of(b'{"text": "\\ud800"}')
    assert not is_sentence(b'{"kind": "session", "args": {"text": "\\ud800"}}')


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": "", "session": "bad"}, 400, "bad_request"),
        ({"text": " \n", "session": "bad"}, 400, "bad_request"),
        ({"text": "a" * 1_000_000, "session": "bad"}, 413, "too_large"),
        ({"text": "hello", "session": "bad", "agent": "nobody"}, 404, "unknown_kind"),
        ({"text": "hello", "session": "bad", "agent": "a.b"}, 404, "unknown_kind"),
        ({"text": "hello", "session": "bad", "agent": KIND}, 404, "unknown_method"),
        ({"text": 7, "session": "bad"}, 400, "bad_request"),
        ({"text": "hello", "session": "bad", "agnt": "porter"}, 400, "bad_request"),
        (b'{"session": "bad", "text": "\xff\xfe"}', 400, "bad_request"),
        (b'{"session": "bad", "text": "\\ud800"}', 400, "bad_request"),
    ],
)
def test_given_a_bad_sentence_over_http_then_it_is_told_and_the_session_is_as_it_was(
    gateway: GatewayProcess, world: System, body: dict[str, object] | bytes, status: int, code: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert error_of(gateway.send("/intent", content)) == (status, code)

    async def messages() -> int:
        async with world.client() as client:
            found: Status = await client.query(session, "bad", "status", type=Status)
            return found.said

    assert run(messages()) == 0


def test_given_sentences_over_nats_then_the_session_shows_their_answers_and_what_is_wrong(world: System) -> None:
    async def scenario() -> None:
        connection = await nats.connect(world.nats_url)
        async with serving(world), world.client() as client:
            for body in (b"When does the library open?", b'{"text": "hi", "agent": "nobody"}', b"\xff"):
                await connection.jetstream().publish("intent.default.n1", body)
            ended = ("result", "error")
            seen = await facts(
                client, "n1",
                lambda all: sum(one.type in ended and one.kind != "librarian" for one in all) >= 4,
            )  # fmt: skip
            results = {one.kind: json.loads(bytes(one.data)) for one in seen if one.type == "result"}
            assert results[ROUTER]["text"] == HOURS
            errors = [json.loads(bytes(one.data)) for one in seen if one.type == "error"]
            assert sorted(error["code"] for error in errors) == ["bad_request", "unknown_kind"]
            run = answering(client, "n1", ROUTER, next(one.command for one in seen if one.kind == KIND))
            assert await run.result(timeout_s=PATIENCE_S) == results[ROUTER]
        await connection.close()

    run(scenario())


def test_given_a_sentence_on_the_command_line_then_its_answer_is_printed(world: System, tmp_path: Path) -> None:
    runtime = Runtime(world.environment(), tmp_path)
    assert runtime.ok("ask", "When does the library open?").out == f"{HOURS}\n"
    assert runtime.ok("ask", "When does the library open?", "--whole").out == f"{HOURS}\n"
    found = runtime.ok("ask", "When does the library open?", "--json").json
    assert (found["agent"], found["text"]) == ("librarian", HOURS)
    assert "nobody" in runtime.fails(3, "ask", "hello", "--agent", "nobody")
    assert "the text is empty" in runtime.fails(2, "ask", " ")


def test_given_another_group_with_agents_then_it_leaves_the_sessions_to_the_first_and_is_known_to_its_router(
    world: System, gateway: GatewayProcess
) -> None:
    pod = world.start_pod("tests.agents.gardening", group="garden")

    numbers = itertools.count()

    def picked() -> str:
        key = f"roses-{next(numbers)}"
        return str(answer(gateway, key, text="please water the roses", session=key)["agent"])

    async def known() -> None:
        await until(lambda: picked() == "gardener")

    run(known())
    assert pod.terminate() == 0


def test_given_the_pod_killed_in_a_tool_call_then_the_answer_to_a_sentence_comes_once(
    world: System, gateway: GatewayProcess, room: Path
) -> None:
    booked, hold = room / "booked", room / "hold"
    hold.touch()
    pod = world.start_pod(ERRANDS)
    for other in world.pods:
        if other is not pod and other.process.poll() is None:
            other.kill()
    accepted = gateway.http.post("/intent", json={"text": "Book a lamp", "session": "k1", "mode": "accept"})
    assert accepted.status_code == 202
    known = accepted.json()

    async def scenario() -> list[Line]:
        await until(booked.exists)
        pod.kill()
        hold.unlink()
        await asyncio.to_thread(world.start_pod, ERRANDS)

        def ended() -> Any:
            return gateway.http.get(known["links"]["self"], params={"wait_s": 10}).json()

        await until(lambda: ended()["status"] == "done")
        assert ended()["result"]["text"] == "[offline model] booked Book a lamp"
        async with world.client() as client:
            async def idle() -> bool:
                found: Status = await client.query(session, "k1", "status", type=Status)
                return found.running is None

            await until(idle)
            found: list[Line] = await client.query(session, "k1", "history", {}, type=list[Line])
            return found

    lines = run(scenario())
    assert [(line.message.role, line.message.name) for line in lines] == [
        ("user", ""), ("assistant", "porter"), ("tool", "book"), ("assistant", "porter"),
    ]  # fmt: skip
    assert len(set(booked.read_text().splitlines())) == 1


def test_given_a_client_when_it_says_a_sentence_then_it_has_the_run_that_answers_it(world: System) -> None:
    async def scenario() -> None:
        async with world.client() as client:
            said = await say(client, "c1", "When does the library open?", timeout_s=PATIENCE_S)
            assert answered(json.dumps(await said.result(timeout_s=PATIENCE_S)).encode()).text == HOURS
            with pytest.raises(CallFailed, match="unknown_kind"):
                await say(client, "c1", "hello", agent="nobody")

    run(scenario())
