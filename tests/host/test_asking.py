"""Handlers that ask other actors and wait: answers that outlive pods, and chains of calls that end in themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.errors import CallFailed, Rejected
from runtime.world import World
from schemas import headers as names
from tests.host.test_steps import owner
from tests.support.callers import caller
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

CYCLE = "caller/a.visit → caller/b.visit → caller/a.visit would wait for itself: caller/a is held"


def test_given_calls_in_a_row_when_each_asks_the_next_then_the_answers_come_back(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(caller, counter), system.client() as client:
            assert await client.ask(caller, "a", "visit", {"path": ["b", "c"]}) == ["a", "b", "c"]
            assert await client.ask(caller, "a", "look", {"path": ["b", "a"]}) == ["a", "b", "a"]

    run(scenario())
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_a_call_into_a_key_of_its_own_chain_then_all_of_it_fails_at_once_with_the_chain(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(caller, counter), system.client() as client:
            with pytest.raises(CallFailed) as caught:
                await client.ask(caller, "a", "visit", {"path": ["b", "a"]}, timeout_s=60)
            assert caught.value.code == "call_cycle"
            assert CYCLE in str(caught.value)
            assert await client.ask(caller, "x", "careful", {"path": ["y", "x"]}, timeout_s=60) == "call_cycle"
            with pytest.raises(CallFailed, match="caller/s.visit → caller/s.visit would wait for itself"):
                await client.ask(caller, "s", "visit", {"path": ["s"]}, timeout_s=60)
            # Nothing is held any more, and nothing was changed.
            assert await client.ask(caller, "a", "visit", {"path": ["b"]}, timeout_s=60) == ["a", "b"]

    run(scenario())
    attempts = system.sql("SELECT DISTINCT code, attempts FROM dead_letters")
    assert attempts == [("call_cycle", 1)], "trying again cannot help"


def test_given_calls_without_end_that_hold_no_key_when_the_chain_is_too_long_then_it_ends(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(caller, counter), system.client() as client:
            with pytest.raises(CallFailed, match="more than 16 calls wait for one another") as caught:
                await client.ask(caller, "a", "look", {"path": ["b", "a"] * 15}, timeout_s=60)
            assert caught.value.code == "call_cycle"

    run(scenario())


def test_given_an_execution_that_asks_when_it_starts_anew_then_it_gets_the_recorded_answers(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(caller, counter), system.client() as client:
            assert await client.ask(caller, "a", "add_twice", {"to": "n", "fails": 3}) == [1, 2]
            assert await client.query(counter, "n", "value") == 2
            with pytest.raises(Rejected, match="only 2 are left"):
                await client.ask(caller, "a", "take", {"to": "n"})
            with pytest.raises(CallFailed, match="only an async handler may ask") as caught:
                await client.ask(caller, "a", "impatient")
            assert caught.value.code == "bad_result"

    run(scenario())


def test_given_a_pod_killed_between_two_questions_then_each_is_answered_once_and_the_caller_too(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    modules = ("tests.support.callers", "tests.support.kinds")
    pods = [system.start_pod(*modules), system.start_pod(*modules)]

    async def scenario() -> None:
        async with system.client() as client:
            question = {"to": "n", "file": str(path)}
            asking = asyncio.ensure_future(client.ask(caller, "a", "add_twice", question, timeout_s=120))
            await until(lambda: system.sql("SELECT count(*) FROM log WHERE kind = 'counter'") == [(1,)])
            (await until(lambda: owner(system, pods))).kill()
            path.touch()
            assert await asking == [1, 2]
            assert await client.query(counter, "n", "value") == 2

    run(scenario())
    assert system.sql("SELECT count(*) FROM log WHERE kind = 'counter'") == [(2,)]


def test_given_the_pod_that_is_asked_killed_while_it_works_then_the_answer_still_comes_once(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    modules = ("tests.support.callers", "tests.support.kinds")
    pods = [system.start_pod(*modules)]

    async def scenario() -> None:
        async with system.client() as client:
            question = {"path": ["b", "c"], "file": str(path)}
            asking = asyncio.ensure_future(client.ask(caller, "a", "visit", question, timeout_s=120))
            await until(lambda: system.sql("SELECT count(*) FROM pending WHERE state = 'running'") == [(3,)])
            pods[0].kill()
            path.touch()
            pods.append(await asyncio.to_thread(system.start_pod, *modules))
            assert await asking == ["a", "b", "c"]

    run(scenario())
    own = "SELECT key, count(*) FROM log WHERE type NOT LIKE 'troupe.%' GROUP BY key ORDER BY key"
    assert system.sql(own) == [("a", 1), ("b", 1), ("c", 1)]


@pytest.mark.parametrize("header", ["caller.a.visit", "caller.a.visit!,caller.b.visit!", "nonsense", "a.b.c," * 40])
def test_given_a_chain_from_outside_when_the_key_is_free_then_the_command_is_done(system: System, header: str) -> None:
    async def scenario() -> None:
        async with system.pod(caller, counter), system.client() as client:
            answer = await client.ask(caller, "a", "visit", {"path": []}, headers={names.CHAIN: header})
            assert answer == ["a"]

    run(scenario())


def test_given_a_world_when_actors_ask_each_other_then_it_is_as_with_pods() -> None:
    world = World(caller, counter)
    assert world.ask(caller, "a", "visit", {"path": ["b", "c"]}) == ["a", "b", "c"]
    assert world.ask(caller, "a", "look", {"path": ["b", "a"]}) == ["a", "b", "a"]
    with pytest.raises(CallFailed) as caught:
        world.ask(caller, "a", "visit", {"path": ["b", "a"]})
    assert caught.value.code == "call_cycle"
    assert CYCLE in str(caught.value)
    assert world.ask(caller, "x", "careful", {"path": ["y", "x"]}) == "call_cycle"
    with pytest.raises(CallFailed, match="more than 16 calls"):
        world.ask(caller, "a", "look", {"path": ["b", "a"] * 15})
    assert world.ask(caller, "a", "add_twice", {"to": "n", "fails": 3}) == [1, 2]
    assert world.query(counter, "n", "value") == 2
    with pytest.raises(Rejected, match="only 2 are left"):
        world.ask(caller, "a", "take", {"to": "n"})
    with pytest.raises(CallFailed, match="only an async handler may ask"):
        world.ask(caller, "a", "impatient")
    world.ask(counter, "n", Add(1))
    world.replay()


def test_given_a_world_in_an_async_test_when_actors_ask_each_other_then_it_works_too() -> None:
    async def scenario() -> None:
        assert World(caller, counter).ask(caller, "a", "visit", {"path": ["b", "c"]}) == ["a", "b", "c"]

    asyncio.run(scenario())
