"""Sessions in a World: what they hold, forget, sum up, fork and read from the log, and what that costs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any

import msgspec
import pytest

from actors.models.calling import Caller
from actors.models.current import using
from actors.models.fleet import Fleet
from actors.models.model import Target
from actors.models.wire import Completion, Delta, Message, ModelRequest
from actors.sessions import KINDS, Status, forking, scope, session, summing_up
from actors.sessions.session import Answer, Task
from actors.sessions.transcript import HELD, PAGE, PAGES, Line
from runtime import Rejected, Workflow, workflow
from runtime.testing import World
from schemas.conversation import run_key


@workflow("echo")
async def echo(ctx: Workflow, task: Task) -> Answer:
    """Answers with what was said."""
    return Answer(f"you said {task.text}", agent="echo")


class Keeps:
    """A model that answers all alike, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[ModelRequest] = []

    async def stream(self, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
        self.asked.append(request)
        yield Completion(Message("assistant", "They spoke of numbers."), target.model)


@pytest.fixture(scope="module")
def long() -> World:
    """A conversation of 1,300 messages, of which a session holds some 500."""
    return conversation(650)


@pytest.fixture
def model() -> Iterator[Keeps]:
    keeps = Keeps()
    fleet = Fleet({"summarize": msgspec.convert({"model": "a/model"}, type=type(Fleet().settings("summarize")))})
    with using(Caller(fleet, lambda _: keeps)):
        yield keeps


def conversation(turns: int, key: str = "s1") -> World:
    world = World(*KINDS, echo)
    talk(world, turns, key)
    return world


def talk(world: World, turns: int, key: str = "s1") -> None:
    for number in range(1, turns + 1):
        world.tell(session, key, "say", {"text": f"number {number}", "agent": "echo"})


def history(world: World, key: str = "s1", **asked: Any) -> list[Line]:
    found: list[Line] = world.query(session, key, "history", asked, type=list[Line])
    return found


def status(world: World, key: str = "s1") -> Status:
    found: Status = world.query(session, key, "status", type=Status)
    return found


def prune(world: World, **asked: Any) -> int:
    forgotten: int = world.ask(session, "s1", "prune", asked)
    return forgotten


def numbers(lines: list[Line]) -> list[int]:
    return [line.number for line in lines]


def test_given_a_long_conversation_then_what_is_held_and_what_a_turn_costs_do_not_grow(long: World) -> None:
    sizes = [len(event.payload) for event in long.log if event.kind == "session"]
    turns = [sizes[at] + sizes[at + 1] for at in range(0, len(sizes) - 1, 2)]
    assert max(turns[-100:]) < 1.05 * max(turns[50:150])
    state = session.encode_state(long.state(session, "s1"))
    few = session.encode_state(conversation(PAGE * PAGES // 2).state(session, "s1"))
    assert len(state) < 1.2 * len(few)
    assert status(long).messages == status(long).said == 1300


def test_given_a_long_conversation_when_its_history_is_read_then_all_of_it_is_there(long: World) -> None:
    pages = [history(long, after=after, limit=130) for after in range(0, 1300, 130)]
    assert numbers([line for page in pages for line in page]) == list(range(1, 1301))
    assert [line.message.content for line in history(long, after=2, limit=2)] == ["number 2", "you said number 2"]
    assert history(long, after=1300) == []
    assert numbers(history(long, after=700, limit=1000)) == list(range(701, 1301))
    with pytest.raises(Rejected, match="limit is 1 to 1000"):
        history(long, limit=0)


def test_given_messages_when_pruned_then_they_are_told_no_more_and_stay_in_the_log() -> None:
    world = conversation(10)
    world.ask(session, "s1", "mark", {"number": 3})
    assert prune(world, how="keep_important", keep=4, summary="They counted.") == 15
    assert numbers(history(world)) == [3, 17, 18, 19, 20]
    assert numbers(history(world, forgotten=True)) == list(range(1, 21))
    assert numbers(history(world, after=3)) == [17, 18, 19, 20]
    summary, lines = world.query(session, "s1", "window", {"upto": 20}, type=tuple[str, list[Line]])
    assert (summary, numbers(lines)) == ("They counted.", [3, 17, 18, 19, 20])
    assert prune(world, how="keep_important", keep=4) == 0
    assert prune(world, how="sliding_window", keep=3) == 3
    assert numbers(history(world)) == [19, 20]
    assert prune(world, how="keep_last", keep=1) == 1
    assert status(world).messages == 1
    world.replay()
    for keep in (0, HELD + 1):
        with pytest.raises(Rejected, match="keep is how many"):
            prune(world, how="keep_last", keep=keep)


def test_given_an_important_message_when_it_is_too_old_to_be_held_otherwise_then_it_is_still_told() -> None:
    world = conversation(5)
    world.ask(session, "s1", "mark", {"number": 1})
    talk(world, 300)
    _, lines = world.query(session, "s1", "window", {"upto": 610, "limit": 10}, type=tuple[str, list[Line]])
    assert numbers(lines) == [1, *range(602, 611)]
    assert prune(world, how="keep_important", keep=2) == 607
    assert numbers(history(world)) == [1, 609, 610]
    with pytest.raises(Rejected, match="holds no message 2"):
        world.ask(session, "s1", "mark", {"number": 2})


def test_given_a_session_that_was_deleted_and_forked_from_its_own_fork_when_it_is_read_then_that_comes_to_an_end(
    long: World,
) -> None:
    long.ask(forking, "left", "run", {"source": "s1", "upto": 1290})
    long.ask(forking, "right", "run", {"source": "left", "upto": 1290})
    long.delete(session, "left")
    long.ask(forking, "left", "run", {"source": "right", "upto": 1290})
    assert numbers(history(long, "left", after=1285)) == list(range(1286, 1291))
    assert set(numbers(history(long, "left", limit=1000))) <= set(range(1, 1291))


def test_given_a_message_when_the_session_is_forked_there_then_the_new_one_goes_on_and_the_old_one_is_unchanged(
    long: World,
) -> None:
    before = len(long.events(session, "s1"))
    for at in (7, 1290):
        assert long.ask(forking, f"fork{at}", "run", {"source": "s1", "upto": at}) == at
        assert numbers(history(long, f"fork{at}", limit=1000)) == list(range(1, min(at, 1000) + 1))
        long.tell(session, f"fork{at}", "say", {"text": "another way", "agent": "echo"})
        assert [line.message.content for line in history(long, f"fork{at}", after=at - 1)][1:] == [
            "another way",
            "you said another way",
        ]
        assert status(long, f"fork{at}").source == "s1"
    assert numbers(history(long, "fork1290", after=1285)) == list(range(1286, 1293))
    assert numbers(history(long, "fork1290", after=500, limit=3)) == [501, 502, 503]
    adopted = long.events(session, "fork1290")[0]
    assert len(adopted.lines) == 200
    assert len(long.events(session, "s1")) == before
    for source, at, why in (("s1", 9999, "has no message"), ("s1", 0, "has no message")):
        with pytest.raises(Rejected, match=why):
            long.ask(forking, "other", "run", {"source": source, "upto": at})
    with pytest.raises(Rejected, match="has begun already"):
        long.ask(forking, "fork7", "run", {"source": "s1", "upto": 3}, id="again")
    given = {"source": "s1", "upto": 1, "summary": "", "lines": []}
    with pytest.raises(Rejected, match="is forked by a run"):
        long.ask(session, "new", "adopt", given)


def test_given_a_model_when_a_session_is_summed_up_then_it_is_asked_once_and_told_in_their_place(model: Keeps) -> None:
    world = conversation(10)
    assert world.ask(summing_up, "s1", "run", {"keep": 4}) == 16
    summary, lines = world.query(session, "s1", "window", {"upto": 20}, type=tuple[str, list[Line]])
    assert (summary, numbers(lines)) == ("They spoke of numbers.", [17, 18, 19, 20])
    assert len(model.asked) == 1
    assert "user: number 8" in model.asked[0].messages[-1].content
    assert "number 9" not in model.asked[0].messages[-1].content
    talk(world, 3)
    world.ask(summing_up, "s1", "run", {"keep": 2}, id="again")
    assert "summed up before: They spoke of numbers." in model.asked[1].messages[-1].content


def test_given_no_model_when_a_session_is_summed_up_then_first_sentences_stand_for_it_and_it_says_so() -> None:
    world = conversation(3)
    assert world.ask(summing_up, "s1", "run", {"keep": 2}) == 4
    summary, _ = world.query(session, "s1", "window", {"upto": 6}, type=tuple[str, list[Line]])
    assert summary == "[offline summary] number 1 number 2"
    assert world.ask(summing_up, "s2", "run", {}) == 0


def test_given_scopes_when_values_are_set_then_each_lasts_and_is_shared_as_it_says() -> None:
    world = conversation(1)

    def put(name: str, value: Any, key: str = "s1", **more: Any) -> None:
        world.ask(session, key, "set_state", {"name": name, "value": value} | more, principal="alice")

    put("theme", "dark")
    put("language", "pt", scope="user")
    put("rate", 0.2, scope="app", app="shop")
    assert world.query(session, "s1", "values") == {"theme": "dark"}
    assert world.query(scope, "user/alice", "values") == {"language": "pt"}
    assert world.query(scope, "app/shop", "values") == {"rate": 0.2}
    put("language", None, "s2", scope="user")
    assert world.query(scope, "user/alice", "values") == {}
    with pytest.raises(Rejected, match="lasts as long as a run"):
        put("draft", 1, scope="temp")
    with pytest.raises(Rejected, match="bytes: 65536 is the limit"):
        put("big", "x" * 70_000)
    with pytest.raises(Rejected, match="has proved to be one"):
        world.ask(session, "s1", "set_state", {"name": "a", "value": 1, "scope": "user"})
    assert world.query(session, "s1", "values") == {"theme": "dark"}


def test_given_a_run_when_it_sets_a_value_of_scope_temp_then_that_is_gone_when_it_has_ended() -> None:
    seen: list[Any] = []

    @workflow("drafting")
    async def drafting(ctx: Workflow, task: Task) -> Answer:
        await ctx.ask(session, task.session, "set_state", {"name": "draft", "value": 1, "scope": "temp"})

        async def look() -> Any:
            return await ctx.look(session, task.session, "values")

        seen.append(await ctx.step("look", look))
        return Answer("done")

    world = World(*KINDS, drafting)
    world.tell(session, "s1", "say", {"text": "go", "agent": "drafting"})
    assert seen == [{"draft": 1}]
    assert world.query(session, "s1", "values") == {}


def test_given_two_agents_when_both_speak_in_one_session_then_its_history_has_both() -> None:
    @workflow("other")
    async def other(ctx: Workflow, task: Task) -> Answer:
        return Answer("I am another", agent="other")

    world = World(*KINDS, echo, other)
    for agent in ("echo", "other", "echo"):
        world.tell(session, "s1", "say", {"text": "hello", "agent": agent})
    assert [line.message.name for line in history(world) if line.message.role == "assistant"] == [
        "echo",
        "other",
        "echo",
    ]


def test_given_ids_that_read_alike_when_their_runs_are_keyed_then_each_has_its_own() -> None:
    assert run_key("a", "b/c") != run_key("a/b", "c")


def test_given_a_session_that_has_forgotten_when_it_and_its_fork_are_forked_then_they_do_not_remember() -> None:
    world = conversation(20)
    world.ask(session, "s1", "prune", {"how": "keep_last", "keep": 4, "summary": "They greeted."})
    world.ask(forking, "s2", "run", {"source": "s1", "upto": 40})
    world.ask(forking, "s3", "run", {"source": "s2", "upto": 39})
    for key, numbers in (("s2", [37, 38, 39, 40]), ("s3", [37, 38, 39])):
        told = world.query(session, key, "history", {}, type=list[Line])
        assert [line.number for line in told] == numbers
        summary, lines = world.query(session, key, "window", {"upto": 40}, type=tuple[str, list[Line]])
        assert (summary, [line.number for line in lines]) == ("They greeted.", numbers)
        assert len(world.query(session, key, "history", {"forgotten": True}, type=list[Line])) == numbers[-1]
