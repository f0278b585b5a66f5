"""Steps: a completed one never runs again, whatever dies in between. Each run of a step is a line in a file."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from runtime.errors import CallFailed
from runtime.world import World
from tests.host.test_ownership import EPOCHS_INTERLEAVE, owners
from tests.support.steppers import step_function, stepper
from tests.support.system import PodProcess, System, run, until

MODULE = "tests.support.steppers"
STEPS = "SELECT payload->>'step', (payload->>'occurrence')::int FROM log WHERE type = 'troupe.step' ORDER BY seq"


def lines(path: Path) -> list[str]:
    """What steps have done outside."""
    return path.read_text().splitlines() if path.exists() else []


def taken(system: System, steps: int) -> bool:
    return len(system.sql(STEPS)) == steps


def owner(system: System, pods: list[PodProcess]) -> PodProcess | None:
    """The pod that has the lane of what is pending; None while it moves from one to another."""
    ((name,),) = system.sql("SELECT p.owner FROM pending q JOIN partitions p USING (lane)")
    return next((pod for pod in pods if pod.name == name), None)


def test_given_a_pod_killed_between_steps_again_and_again_and_a_failure_then_each_step_ran_once(
    system: System, tmp_path: Path
) -> None:
    pods = [system.start_pod(MODULE)]
    path = tmp_path / "walk"

    async def scenario() -> None:
        async with system.client() as client:
            question = {"path": str(path), "steps": 4, "fails": 3}
            asking = asyncio.ensure_future(client.ask(stepper, "a", "walk", question, timeout_s=90))
            for number in range(1, 4):
                await until(partial(taken, system, number))
                if number < 3:
                    pods[-1].kill()
                    pods.append(await asyncio.to_thread(system.start_pod, MODULE))
                assert not asking.done()
                (tmp_path / f"walk.{number}").touch()
            await until(lambda: taken(system, 4))
            (tmp_path / "walk.4").touch()
            assert await asking == [f"walk {number}" for number in range(4)]

    run(scenario())
    walked = [line for line in lines(path) if line.startswith("walk")]
    assert walked == [f"walk {number}" for number in range(4)]
    assert lines(path)[4:] == ["attempt 3 fails"], "the handler failed once by itself"
    assert system.sql(STEPS) == [("walk", number) for number in range(4)]
    assert system.sql("SELECT count(*) FROM log WHERE type = 'ValueSet'") == [(1,)]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]
    assert system.sql(EPOCHS_INTERLEAVE) == [(0,)]


def test_given_a_pod_frozen_between_steps_when_it_wakes_then_it_takes_and_records_no_step(
    system: System, tmp_path: Path
) -> None:
    pods = [system.start_pod(MODULE), system.start_pod(MODULE)]
    path = tmp_path / "walk"

    async def scenario() -> None:
        async with system.client() as client:
            question = {"path": str(path), "steps": 3}
            asking = asyncio.ensure_future(client.ask(stepper, "a", "walk", question, timeout_s=90))
            await until(lambda: taken(system, 1))
            frozen: PodProcess = await until(lambda: owner(system, pods))
            frozen.freeze()
            await until(lambda: owner(system, pods) not in (None, frozen))
            (tmp_path / "walk.1").touch()
            await until(lambda: taken(system, 2))
            frozen.wake()
            await until(lambda: owners(system).get(frozen.name, 0) > 0)
            await asyncio.sleep(0.5)
            (tmp_path / "walk.2").touch()
            (tmp_path / "walk.3").touch()
            assert await asking == ["walk 0", "walk 1", "walk 2"]
            assert frozen.process.poll() is None

    run(scenario())
    assert lines(path) == ["walk 0", "walk 1", "walk 2"]
    assert system.sql(STEPS) == [("walk", number) for number in range(3)]
    assert system.sql(EPOCHS_INTERLEAVE) == [(0,)]


def test_given_a_pod_frozen_within_a_step_when_it_wakes_then_what_it_did_is_not_recorded(
    system: System, tmp_path: Path
) -> None:
    pods = [system.start_pod(MODULE), system.start_pod(MODULE)]
    path = tmp_path / "halves"

    async def scenario() -> None:
        async with system.client() as client:
            asking = asyncio.ensure_future(client.ask(stepper, "a", "halves", {"path": str(path)}, timeout_s=90))
            await until(lambda: taken(system, 1) and "slow begins" in lines(path))
            frozen: PodProcess = await until(lambda: owner(system, pods))
            frozen.freeze()
            await until(lambda: lines(path).count("slow begins") == 2)
            (tmp_path / "halves.go").touch()
            assert await asking == "fast slow"
            frozen.wake()
            await until(lambda: owners(system).get(frozen.name, 0) > 0)
            await asyncio.sleep(0.5)

    run(scenario())
    assert lines(path).count("fast") == 1, "it was completed before"
    assert sorted(system.sql(STEPS)) == [("fast", 0), ("slow", 0)]


def test_given_a_pod_that_leaves_while_a_step_runs_then_the_next_owner_has_those_before_it(
    system: System, tmp_path: Path
) -> None:
    pods = [system.start_pod(MODULE, drain_s=0.3)]
    path = tmp_path / "walk"

    async def scenario() -> None:
        async with system.client() as client:
            question = {"path": str(path), "steps": 2}
            asking = asyncio.ensure_future(client.ask(stepper, "a", "walk", question, timeout_s=90))
            await until(lambda: taken(system, 1))
            assert await asyncio.to_thread(pods[0].terminate) == 0
            assert system.sql("SELECT state, attempts FROM pending") == [("waiting", 0)]
            pods.append(await asyncio.to_thread(system.start_pod, MODULE))
            (tmp_path / "walk.1").touch()
            (tmp_path / "walk.2").touch()
            assert await asking == ["walk 0", "walk 1"]

    run(scenario())
    assert lines(path) == ["walk 0", "walk 1"]


def test_given_steps_side_by_side_when_the_function_is_tried_again_then_each_ran_once(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "function"

    async def scenario() -> None:
        async with system.pod(step_function, stepper), system.client() as client:
            question = {"path": str(path), "fails": 2}
            assert await client.ask(step_function, "f", "run", question, timeout_s=60) == ["slow", 4, "last"]
            # The same again is another run, with steps of its own.
            assert await client.ask(step_function, "f", "run", {"path": str(path)}, timeout_s=60) == ["slow", 4, "last"]

    run(scenario())
    assert lines(path) == ["fast", "slow", "last"] * 2
    assert system.sql(STEPS) == [("fast", 0), ("slow", 0), ("last", 0)] * 2


def test_given_an_execution_without_a_key_when_its_process_dies_between_steps_then_each_ran_once(
    system: System, tmp_path: Path
) -> None:
    pods = [system.start_pod(MODULE)]
    path = tmp_path / "dies"

    async def scenario() -> None:
        async with system.client() as client:
            question = {"path": str(path), "times": 2}
            asking = asyncio.ensure_future(client.ask(stepper, "a", "dies", question, timeout_s=90))
            while not asking.done():
                if pods[-1].process.poll() is not None:
                    pods.append(await asyncio.to_thread(system.start_pod, MODULE))
                await asyncio.sleep(0.05)
            assert await asking == ["first", "second"]

    run(scenario())
    assert len(pods) == 3
    assert lines(path) == ["first", "second"]


def test_given_a_handler_that_leaves_its_journal_then_it_is_parked_and_no_result_is_reused(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "stray"

    async def scenario() -> None:
        async with system.pod(stepper), system.client() as client:
            with pytest.raises(CallFailed) as caught:
                await client.ask(stepper, "a", "stray", {"path": str(path), "how": "other"}, id="run-1", timeout_s=60)
            for part in ("stepper/a", "run-1", "'first'", "'other'", "new id"):
                assert part in str(caught.value)
            with pytest.raises(CallFailed, match="step 'first' .* is recorded, and nobody asked for it"):
                await client.ask(stepper, "b", "stray", {"path": str(path), "how": "fewer"}, timeout_s=60)
            assert await client.ask(stepper, "c", "stray", {"path": str(path), "how": "same"}, timeout_s=60) == "done"

    run(scenario())
    assert lines(path) == ["step"] * 3
    assert system.sql("SELECT key, attempts FROM dead_letters ORDER BY key") == [("a", 2), ("b", 2)]


def test_given_a_parked_run_when_its_dead_letter_is_replayed_then_its_completed_steps_do_not_run_again(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "replayed"

    async def scenario() -> None:
        async with system.pod(stepper), system.client() as client:
            with pytest.raises(CallFailed):
                await client.ask(stepper, "a", "stray", {"path": str(path), "how": "other"}, timeout_s=60)
            ((letter,),) = system.sql("SELECT id FROM dead_letters")
            await client.query(stepper, "a", "$order", {"what": "replay", "dead_letter": letter, "by": "ann"})
            await until(lambda: system.sql("SELECT count(*) FROM dead_letters") == [(2,)])

    run(scenario())
    assert lines(path) == ["step"], "both attempts of the replay had it from the journal"
    assert system.sql(STEPS) == [("first", 0)]


@pytest.mark.parametrize("what", ["object", "surrogate", "key", "type"])
def test_given_a_result_that_cannot_be_recorded_then_the_step_is_named_and_the_command_parked(
    system: System, tmp_path: Path, what: str
) -> None:
    path = tmp_path / "bad"

    async def scenario() -> None:
        async with system.pod(stepper), system.client() as client:
            with pytest.raises(CallFailed, match="step 'bad one'") as caught:
                await client.ask(stepper, "a", "bad", {"path": str(path), "what": what}, timeout_s=60)
            assert caught.value.code == "bad_result"

    run(scenario())
    assert lines(path) == [what], "it was not tried again"
    assert system.sql(STEPS) == []


def test_given_a_step_that_refuses_when_the_handler_is_tried_again_then_it_is_refused_again_without_running(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "refused"

    async def scenario() -> None:
        async with system.pod(stepper), system.client() as client:
            assert await client.ask(stepper, "a", "refused", {"path": str(path), "fails": 2}, timeout_s=60) == "undone"
            with pytest.raises(CallFailed, match="step 'ship' is taken after step 'charge' failed"):
                await client.ask(stepper, "b", "swallows", {"path": str(path)}, timeout_s=60)
            with pytest.raises(CallFailed, match="step 'inner' is taken within another step"):
                await client.ask(stepper, "c", "nested", {"path": str(path)}, timeout_s=60)
            with pytest.raises(CallFailed, match="only an async handler may take steps"):
                await client.ask(stepper, "d", "decision", timeout_s=60)

    run(scenario())
    assert lines(path) == ["refused", "undo: no money {'left': 2}"]


def test_given_a_step_that_takes_an_idempotency_key_then_it_is_its_own_on_every_attempt(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "keyed"

    async def scenario() -> None:
        async with system.pod(stepper), system.client() as client:
            question = {"path": str(path), "fails": 1}
            keys = await client.ask(stepper, "a", "keyed", question, id="run-1", timeout_s=60)
            assert [key.partition("/")[2] for key in keys] == ["run-1/use/0", "run-1/use/1", "run-1/note/0"]
            assert lines(path) == [keys[0], *keys], "the first was tried twice, with one key"
            path.unlink()
            other = await client.ask(stepper, "b", "keyed", question, id="run-1", timeout_s=60)
            assert not {*other} & {*keys}, "another actor's command with the same id is another run"

    run(scenario())


def test_given_a_step_whose_commit_the_log_refuses_then_its_command_alone_is_parked(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "walk"
    for number in (1, 2):
        (tmp_path / f"walk.{number}").touch()

    async def scenario() -> None:
        async with system.pod(stepper), system.client() as client:
            system.sql(
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
                " $$BEGIN RAISE EXCEPTION 'not this one'; END$$;"
                "CREATE TRIGGER no BEFORE INSERT ON events FOR EACH ROW"
                " WHEN (NEW.type = 'troupe.step' AND NEW.payload->>'run' = 'bad') EXECUTE FUNCTION no()"
            )
            question = {"path": str(path), "steps": 2}
            refused = asyncio.ensure_future(client.ask(stepper, "a", "walk", question, id="bad", timeout_s=60))
            assert await client.ask(stepper, "b", "walk", question, timeout_s=60) == ["walk 0", "walk 1"]
            with pytest.raises(CallFailed, match="not this one"):
                await refused

    run(scenario())
    assert system.sql("SELECT key FROM dead_letters") == [("a",)]


def test_given_a_world_when_handlers_take_steps_then_it_is_as_with_pods(tmp_path: Path) -> None:
    world = World(stepper, step_function)
    path = tmp_path / "world"
    for number in (1, 2):
        (tmp_path / f"world.{number}").touch()
    question = {"path": str(path), "steps": 2, "fails": 3}
    assert world.ask(stepper, "a", "walk", question) == ["walk 0", "walk 1"]
    assert [line for line in lines(path) if line.startswith("walk")] == ["walk 0", "walk 1"]
    path.unlink()
    assert world.ask(step_function, "f", "run", {"path": str(path), "fails": 2}) == ["slow", 4, "last"]
    assert lines(path) == ["fast", "slow", "last"]
    with pytest.raises(CallFailed, match="its next step was 'first' .* and now 'other'"):
        world.ask(stepper, "b", "stray", {"path": str(path), "how": "other"})
    with pytest.raises(CallFailed, match="nobody asked for it"):
        world.ask(stepper, "c", "stray", {"path": str(path), "how": "fewer"})
    with pytest.raises(CallFailed, match="step 'bad one'"):
        world.ask(stepper, "d", "bad", {"path": str(path), "what": "object"})
    with pytest.raises(CallFailed, match="only an async handler may take steps"):
        world.ask(stepper, "e", "decision")
    assert [event.type for event in world.log if event.key == "a"] == [
        "troupe.step", "troupe.step", *["troupe.attempt"] * 3, "ValueSet",
    ]  # fmt: skip
    world.replay()
