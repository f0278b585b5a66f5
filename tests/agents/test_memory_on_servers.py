"""Memory in Postgres: found as in a World, and the same after its documents were dropped and made anew."""

from __future__ import annotations

import asyncio
from typing import Any

from actors.memory import KINDS, Found, memory
from actors.memory.items import Item
from actors.models.embedding import embedding_by
from runtime.client import Client
from runtime.testing import World
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
            # A deleted owner leaves no document.
            await client.delete(memory, ALICE, force=True)
            assert system.sql("SELECT count(*) FROM documents") == [(0,)]
            assert (await client.query(memory, ALICE, "search", {"text": "train"}, type=Found)).items == []
            await client.ask(memory, ALICE, "store", {"text": "Alice likes ships"})
            found = await client.query(memory, ALICE, "search", {"text": "ships train"}, type=Found)
            assert [item.text for item in found.items] == ["Alice likes ships"]

    with embedding_by(letters):
        run(scenario())
