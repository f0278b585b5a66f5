"""Memory in Postgres: found as in a World, and the same after its documents were dropped and made anew."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.memory import KINDS, Found, memory
from actors.memory.items import Item
from actors.models.embedding import embedding_by
from actors.sessions import session
from runtime.client import Client
from runtime.testing import World
from tests.cli.command import Runtime
from tests.support.model_server import Hangs, ModelServer, Says
from tests.support.system import System, run, until
from tests.support.vectors import Letters

ALICE = "user/alice"
SAID: list[tuple[str, dict[str, Any]]] = [
    ("Alice is allergic to nuts", {"topic": "health", "level": 5}),
    ("The parcel went to Lisbon by train", {"topic": "orders", "level": 2, "tags": ["a", "b"]}),
    ("Alice likes the night train to Lisbon", {"topic": "travel", "level": 3}),
    ("Invoices are paid by card, never in cash", {"topic": "money", "level": 7}),
    ("The office plants want water on Mondays", {"topic": "office"}),
]
ASKED: list[dict[str, Any]] = [
    {"text": "train lisbon"},
    {"text": "nutallergy", "min_likeness": 0.2},
    {"text": "Lisbon", "filters": {"topic": "travel"}},
    {"text": "alice train card", "filters": {"level": {"gte": 3, "lt": 7}}},
    {"text": "train", "filters": {"tags": "b"}},
    {"text": "invoices", "filters": {"topic": {"among": ["money", "x\"y"]}}},
    {"text": "zebra & | ! ( ' :*", "min_likeness": 2.0},
    {"text": "card", "limit": 1},
]


def in_a_world() -> list[list[str]]:
    world = World(*KINDS)
    for text, meta in SAID:
        world.ask(memory, ALICE, "store", {"text": text, "meta": meta})
    found = [world.query(memory, ALICE, "search", asked, type=Found) for asked in ASKED]
    return [[item.id for item in one.items] for one in found]


async def answers(client: Client) -> list[list[Item]]:
    found = [await client.query(memory, ALICE, "search", asked, type=Found) for asked in ASKED]
    assert all(one.semantic and not one.note for one in found)
    return [one.items for one in found]


async def all_embedded(client: Client) -> bool:
    items = await client.query(memory, ALICE, "list", {}, type=list[Item])
    return len(items) == len(SAID) and all(item.model for item in items)


def test_given_memories_in_postgres_when_dropped_and_rebuilt_then_they_answer_the_same_and_as_in_a_world(
    system: System,
) -> None:
    letters = Letters()

    async def scenario() -> None:
        async with system.pod(*KINDS), system.client() as client:
            for text, meta in SAID:
                await client.ask(memory, ALICE, "store", {"text": text, "meta": meta})
            await until(lambda: all_embedded(client))
            first = await answers(client)
            assert [[item.id for item in one] for one in first] == in_a_world()
            asked = letters.calls
            system.sql("DELETE FROM documents")
            system.sql("DELETE FROM indexed")
            again = await asyncio.gather(*[answers(client) for _ in range(3)])
            assert again == [first, first, first]
            assert letters.calls == asked + 3 * len(ASKED)  # of the questions: no item was embedded anew
            # Words are found by their stems.
            plural = {"text": "invoice plant", "min_likeness": 2}
            stems = await client.query(memory, ALICE, "search", plural, type=Found)
            assert [item.id for item in stems.items] == ["m0000004", "m0000005"]
            # Over HTTP a query is said as a command.
            said = await client.ask(memory, ALICE, "search", plural, type=Found)
            assert said.items == stems.items
            # A deleted owner leaves no document.
            await client.delete(memory, ALICE, force=True)
            assert system.sql("SELECT count(*) FROM documents") == [(0,)]
            assert (await client.query(memory, ALICE, "search", {"text": "train"}, type=Found)).items == []
            await client.ask(memory, ALICE, "store", {"text": "Alice likes ships"})
            found = await client.query(memory, ALICE, "search", {"text": "ships train"}, type=Found)
            assert [item.text for item in found.items] == ["Alice likes ships"]

    with embedding_by(letters):
        run(scenario())


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TROUPE_TEST_DESK", str(tmp_path))
    monkeypatch.setenv("RUNTIME_FLEET", str(tmp_path / "fleet.yaml"))
    return tmp_path


def test_given_a_pod_that_is_killed_while_it_learns_then_each_model_is_asked_once_and_each_item_is_there_once(
    system: System, room: Path
) -> None:
    learned = '{"facts": [{"text": "Alice is allergic to nuts"}, {"text": "Alice lives in Porto"}]}'
    added = '{"op": "ADD", "text": "Alice is allergic to nuts"}, {"op": "ADD", "text": "Alice lives in Porto"}'
    verified = '{"decisions": [' + added + "]}"
    runtime = Runtime(system.environment(), room)

    async def scenario(server: ModelServer) -> list[Item]:
        pod = await asyncio.to_thread(system.start_pod, "tests.agents.mindful")
        async with system.client() as client:
            say = {"text": "No nuts for me in Porto, please", "agent": "mindful"}
            await client.ask(session, "s1", "say", say)
            # The answer and the extraction are recorded, and who decides hangs.
            await until(lambda: server.calls == 3)
            pod.kill()
            await asyncio.to_thread(system.start_pod, "tests.agents.mindful")

            async def there() -> list[Item]:
                found = await client.query(memory, "session/s1", "list", {}, type=list[Item])
                return found if len(found) == 2 else []

            return await until(there)  # type: ignore[no-any-return]  # what `there` gives

    with ModelServer() as server:
        model = {"model": "openai/stand-in", "api_base": server.url, "timeout_s": 600}
        fleet = {"generate": model, "embed": {"model": "openai/vectors", "api_base": server.url}}
        (room / "fleet.yaml").write_bytes(msgspec.yaml.encode({"fleet": fleet}))
        server.script(Says("Noted.", piece=64), Says(learned, piece=512), Hangs(), Says(verified, piece=512))
        items = run(scenario(server))
        assert [item.text for item in items] == ["Alice is allergic to nuts", "Alice lives in Porto"]
        assert {item.model for item in items} == {"openai/vectors"}
        # The call that hung was not answered, and was made anew; the others were paid for once.
        assert server.calls == 4
        lines = [json.loads(line) for line in runtime.ok("sessions", "export", "s1").out.splitlines()]
        assert [line["message"]["content"] for line in lines] == ["No nuts for me in Porto, please", "Noted."]
        sent = runtime.ok("sessions", "prompt", "s1", lines[0]["run"], "--json").json
        assert [message["content"] for message in sent["messages"]] == ["No nuts for me in Porto, please"]
        assert runtime.ok("sessions", "expire", "--idle-days", "1").out == "no session is so old\n"
        gone = runtime.ok("sessions", "expire", "--idle-days", "0", "--delete", "--json").json["sessions"]
        assert [(one["session"], one["messages"], one["deleted"]) for one in gone] == [("s1", 2, True)]
        assert runtime.ok("sessions", "export", "s1").out == ""
