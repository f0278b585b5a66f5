"""Memory in a World: what is stored is found by words and by likeness, filtered, listed, told within a budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from actors.agents import Agent
from actors.memory import KINDS, Found, Recalled, Remembers, consolidation, memory
from actors.memory.items import Decision, Item, Source, owner_key
from actors.memory.memory import Learned
from actors.models.calling import Caller
from actors.models.current import using
from actors.models.embedding import embedding_by, packed, unpacked
from actors.models.fleet import Fleet, SlotSettings
from actors.sessions import session
from actors.sessions.prompting import Sent
from runtime import Rejected
from runtime.index import Compared
from runtime.testing import World
from schemas.address import encode_token
from tests.agents.scripted import Scripted
from tests.support.vectors import Letters

ALICE = "user/alice"


@pytest.fixture
def letters() -> Iterator[Letters]:
    made = Letters()
    with embedding_by(made):
        yield made


@pytest.fixture
def world() -> World:
    return World(*KINDS, always_replay=True)


def store(world: World, text: str, **given: Any) -> str:
    id: str = world.ask(memory, ALICE, "store", {"text": text} | given)
    return id


def search(world: World, text: str, **given: Any) -> Found:
    found: Found = world.query(memory, ALICE, "search", {"text": text} | given, type=Found)
    return found


def ids(found: Found) -> list[str]:
    return [item.id for item in found.items]


def test_given_no_model_for_vectors_when_searching_then_words_find_it_and_the_answer_says_so(world: World) -> None:
    nuts, tea = store(world, "Alice is allergic to nuts"), store(world, "Alice drinks tea in the morning")
    found = search(world, "what about nuts?")
    assert ids(found) == [nuts]
    assert not found.semantic
    assert "no model makes vectors here" in found.note
    assert ids(search(world, "Alice")) == [nuts, tea]
    assert ids(search(world, "coffee")) == []
    assert world.ask(memory, ALICE, "search", {"text": "nuts"})["items"][0]["id"] == nuts


def test_given_a_model_for_vectors_when_searching_then_likeness_finds_it_too_and_each_text_is_embedded_once(
    world: World, letters: Letters
) -> None:
    nuts, _ = store(world, "Alice is allergic to nuts"), store(world, "Bob plays chess")
    assert letters.calls == 2
    found = search(world, "nutallergy", min_likeness=0.2)
    assert ids(found) == [nuts]
    assert found.semantic
    assert found.items[0].likeness is not None
    world.replay()
    assert letters.calls == 3  # the question alone


def test_given_both_halves_when_a_text_is_found_by_both_then_it_comes_first(world: World, letters: Letters) -> None:
    store(world, "The parcel went to Lisbon")
    both = store(world, "Parcels are sent by train")
    store(world, "Trains are late")
    assert ids(search(world, "parcels by train"))[0] == both


def test_given_metadata_when_filtered_then_only_what_fits_is_found(world: World) -> None:
    one = store(world, "pays by card", meta={"topic": "money", "level": 3, "tags": ["a", "b"]})
    two = store(world, "pays by invoice", meta={"topic": "orders", "level": 7}, kind="procedural")
    for filters, wanted in (
        ({"topic": "money"}, [one]),
        ({"level": {"gte": 3}}, [one, two]),
        ({"level": {"gt": 3}}, [two]),
        ({"level": {"lt": 7, "gte": 3}}, [one]),
        ({"tags": "b"}, [one]),
        ({"topic": {"among": ["orders", "x"]}}, [two]),
        ({"topic": {"among": []}}, []),
        ({"kind": "procedural"}, [two]),
        ({"nothing": 1}, []),
        ({"level": "3"}, []),
    ):
        assert ids(search(world, "pays", filters=filters)) == wanted, filters


def test_given_items_when_updated_and_forgotten_then_search_list_and_get_follow(world: World) -> None:
    first, second = store(world, "lives in Lisbon"), store(world, "likes trains")
    world.ask(memory, ALICE, "update", {"id": first, "text": "lives in Porto"})
    assert ids(search(world, "Lisbon")) == []
    assert ids(search(world, "Porto")) == [first]
    assert world.ask(memory, ALICE, "forget", {"ids": [second, "m9", second]}) == 1
    assert [item.text for item in world.query(memory, ALICE, "list", {}, type=list[Item])] == ["lives in Porto"]
    assert world.query(memory, ALICE, "get", {"ids": [first, second]}, type=list[Item])[0].id == first
    with pytest.raises(Rejected, match="has no item"):
        world.ask(memory, ALICE, "update", {"id": second, "text": "x"})
    assert ids(search(world, "trains")) == []


def test_given_an_item_that_changes_while_its_vector_is_made_when_that_comes_then_it_is_not_taken(
    world: World, letters: Letters
) -> None:
    id = store(world, "lives in Lisbon", vector=packed([1.0, 0.0]), model="other")
    stale = {"id": id, "times": 1, "vector": packed([0.0, 1.0]), "model": "m"}
    world.ask(memory, ALICE, "update", {"id": id, "text": "lives in Porto"})
    before = len(world.events(memory, ALICE))
    world.ask(memory, ALICE, "embedded", stale)
    assert len(world.events(memory, ALICE)) == before


def test_given_a_budget_when_recalled_then_blocks_come_first_and_items_as_long_as_there_is_room(world: World) -> None:
    world.ask(memory, ALICE, "set_block", {"name": "who", "text": "She is called Alice."})
    for number in range(10):
        store(world, f"note {number} about trains and the timetable of line {number}")
    little: Recalled = world.query(memory, ALICE, "recall", {"text": "trains", "budget_tokens": 45}, type=Recalled)
    assert little.blocks == {"who": "She is called Alice."}
    assert len(little.items) == 2
    assert little.left_out == 8
    assert little.tokens <= 45
    none: Recalled = world.query(memory, ALICE, "recall", {"text": "trains", "budget_tokens": 1}, type=Recalled)
    assert (none.blocks, none.items) == ({}, [])


def test_given_decisions_when_learned_then_each_is_recorded_and_done_once(world: World) -> None:
    id = store(world, "lives in Lisbon")
    decisions = [
        Decision("UPDATE", "lives in Porto", id, why="moved"),
        Decision("ADD", "likes trains"),
        Decision("NOOP", "lives in Porto", id),
        Decision("UPDATE", "x", "m9999999"),
    ]
    given = {"decisions": decisions, "source": Source("s1", 1, 2)}
    assert world.ask(memory, ALICE, "learn", given) == [id, "m0000002", "", ""]
    assert [type(event).__name__ for event in world.events(memory, ALICE)] == ["Stored", "Learned", "Stored", "Stored"]
    found = search(world, "Porto", filters={"session": "s1"})
    assert ids(found) == [id]


def test_given_a_deleted_memory_when_searched_then_nothing_of_before_is_found(world: World) -> None:
    store(world, "likes trains")
    assert ids(search(world, "trains")) == ["m0000001"]
    world.delete(memory, ALICE)
    assert ids(search(world, "trains")) == []
    store(world, "likes ships")
    assert ids(search(world, "likes trains ships")) == ["m0000001"]


def test_given_items_that_say_the_same_when_consolidated_then_the_newest_of_each_stays(world: World) -> None:
    for text in ("likes night trains", "Likes night trains!", "likes ships", "likes the night trains", "pays by card"):
        store(world, text)
        world.advance(1)
    assert world.ask(consolidation, ALICE, "run", {}) == 2
    left = world.query(memory, ALICE, "list", {}, type=list[Item])
    assert [item.text for item in left] == ["likes ships", "likes the night trains", "pays by card"]
    assert world.ask(consolidation, ALICE, "run", {}, id="again") == 0


def talk(world: World, *texts: str) -> None:
    for text in texts:
        world.tell(session, "s1", "say", {"text": text, "agent": "clerk"}, principal="alice")


def test_given_an_agent_with_memory_when_people_tell_of_themselves_then_it_learns_and_is_told_later() -> None:
    world = World(Agent("clerk", instructions="Be kind.", memory=Remembers()), always_replay=True)
    talk(world, "Hello! My name is Alice. I live in Lisbon.", "I live in Lisbon", "What is new?")
    texts = [item.text for item in world.query(memory, ALICE, "list", {}, type=list[Item])]
    assert texts == ["My name is Alice", "I live in Lisbon"]
    talk(world, "I live in Porto now", "Always answer in one line.", "Please forget my name")
    items = world.query(memory, ALICE, "list", {}, type=list[Item])
    assert [(item.id, item.text, item.kind) for item in items] == [
        ("m0000002", "I live in Porto now", "semantic"),
        ("m0000003", "Always answer in one line", "procedural"),
    ]
    learned = [event for event in world.events(memory, ALICE) if isinstance(event, Learned)]
    assert [[one.op for one in event.decisions] for event in learned] == [
        ["ADD", "ADD"], ["NOOP"], ["UPDATE"], ["ADD"], ["DELETE"],
    ]  # fmt: skip
    assert learned[2].source.session == "s1"
    heard = world.ask(session, "s2", "say", {"text": "Where do I live?", "agent": "clerk"}, principal="alice")
    told = world.query(session, "s2", "prompt", {"run": heard["run"]}, type=Sent)
    assert "- I live in Porto now" in told.messages[0].content
    assert told.memories == {ALICE: ("m0000002",)}
    world.replay()


def test_given_a_model_when_a_conversation_is_learned_then_what_it_says_of_unknown_items_is_not_done() -> None:
    scripted = Scripted()
    id = "m0000001"
    scripted.says(
        "Nice.",
        '{"facts": [{"text": "Alice moved to Porto"}, {"text": "Alice likes ships"}, {"text": "x", "forget": true}]}',
        '{"decisions": [{"op": "update", "id": "' + id + '", "text": "Alice lives in Porto"}, {"op": "ADD", '
        '"text": "Alice likes ships", "kind": "episodic"}, {"op": "DELETE", "id": "m7777777"}, {"op": "burn"}]}',
    )
    fleet = Fleet({"generate": SlotSettings(model="a/model")})
    with using(Caller(fleet, lambda _: scripted)):
        world = World(Agent("clerk", memory=Remembers(tools=False)), always_replay=True)
        store(world, "Alice lives in Lisbon")
        talk(world, "I moved to Porto, and I like ships")
    items = world.query(memory, ALICE, "list", {}, type=list[Item])
    assert [(item.text, item.kind) for item in items] == [
        ("Alice lives in Porto", "semantic"),
        ("Alice likes ships", "episodic"),
    ]
    assert len(scripted.asked) == 3
    assert f"{id}: Alice lives in Lisbon" in scripted.asked[2].messages[-1].content
    learned = next(event for event in world.events(memory, ALICE) if isinstance(event, Learned))
    assert [one.op for one in learned.decisions] == ["UPDATE", "ADD", "NOOP", "NOOP"]


def test_given_tools_of_memory_when_the_model_calls_them_then_it_remembers_and_recalls() -> None:
    scripted = Scripted()
    scripted.calls("remember", text="Alice is allergic to nuts")
    scripted.says("Noted.")
    scripted.calls("recall", text="nuts")
    scripted.says("You are allergic to nuts.")
    with using(Caller(Fleet(), lambda _: scripted)):
        world = World(Agent("clerk", memory=Remembers(learns=None)), always_replay=True)
        talk(world, "I cannot eat nuts", "What can I not eat, nuts?")
        nobody = world.ask(session, "s9", "say", {"text": "Remember me", "agent": "clerk"})
    results = [one.content for request in scripted.asked for one in request.messages if one.role == "tool"]
    assert results[0] == "remembered as m0000001"
    assert '["Alice is allergic to nuts"]' in results
    assert nobody["status"] == "running"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"text": " "}, "is empty"),
        ({"text": "a\0b"}, "NUL"),
        ({"text": "x" * 20_000}, "at most"),
        ({"text": "x", "meta": {"kind": "y"}}, "memory's own"),
        ({"text": "x", "meta": {"y": "z" * 5000}}, "metadata has at most"),
        ({"text": "x", "vector": "!", "model": "m"}, "no packed vector"),
        ({"text": "x", "id": "a" * 65}, "1 to 64"),
    ],
)
def test_given_bad_input_when_stored_then_it_is_refused_and_nothing_changes(
    world: World, given: dict[str, Any], why: str
) -> None:
    with pytest.raises(Rejected, match=why):
        world.ask(memory, ALICE, "store", given)
    assert world.events(memory, ALICE) == []


def test_given_long_names_when_a_key_is_made_then_it_fits() -> None:
    assert owner_key("user", "alice") == "user/alice"
    assert encode_token(owner_key("app", "ü" * 500))
    assert unpacked(packed([0.5, -2.0])) == (0.5, -2.0)
    assert Compared(eq=1) != Compared(eq=2)


def test_given_a_run_that_is_begun_for_somebody_else_by_name_when_it_asks_its_model_then_it_is_not_told_of_theirs() -> (
    None
):
    model = Scripted()
    model.says("I do not know.")
    with using(Caller(Fleet(), lambda _: model)):
        world = World(session, *KINDS, Agent("clerk", memory=Remembers(learns=None)), always_replay=True)
        world.ask(memory, "user/ann", "store", {"text": "Ann has the code 4711"})
        asked = {"session": "", "upto": 0, "text": "Which code have I?", "by": "ann"}
        world.ask("clerk", "r", "run", asked, principal="mallory")
    assert "4711" not in repr(model.asked)


@pytest.mark.parametrize(
    "vector",
    ["!", "", packed([float("nan")]), packed([float("inf"), 1.0]), packed([0.5] * 20_000), packed([0.0, 1e-30])],
)
def test_given_a_vector_that_no_index_takes_when_it_is_learned_then_it_is_refused_and_the_memory_still_answers(
    world: World, vector: str
) -> None:
    id = store(world, "Alice likes tea")
    with pytest.raises(Rejected, match="no packed vector"):
        world.ask(memory, ALICE, "embedded", {"id": id, "times": 1, "vector": vector, "model": "m"})
    if vector:
        decisions = [Decision("ADD", "Alice likes milk", vector=vector, model="m")]
        with pytest.raises(Rejected, match="no packed vector"):
            world.ask(memory, ALICE, "learn", {"decisions": decisions, "source": Source()})
    assert ids(search(world, "tea")) == [id]


def test_given_nul_in_what_is_stored_when_searched_then_the_index_has_another_character_in_its_place(
    world: World,
) -> None:
    store(world, "Alice likes tea", meta={"a\0": "b\0", "c": ["d\0"]})
    (found,) = search(world, "tea").items
    assert (found.meta["a\ufffd"], found.meta["c"]) == ("b\ufffd", ["d\ufffd"])


@pytest.mark.parametrize(
    "filters",
    [
        {"a\0": "b"},
        {"a": "b\0"},
        {"a": {"among": ["\0"]}},
        {"a": {"among": ["x"] * 1000}},
        {f"a{number}": 1 for number in range(100)},
    ],
)
def test_given_filters_that_no_database_takes_when_searched_then_they_are_refused(
    world: World, filters: dict[str, Any]
) -> None:
    store(world, "Alice likes tea")
    with pytest.raises(Rejected, match="filter"):
        search(world, "tea", filters=filters)
