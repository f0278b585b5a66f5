"""A fork begins with what another run recorded before a step, does the rest itself, and leaves the other one alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.errors import CallFailed, Rejected
from tests.host.test_runs import MODULE, moments, reaches, states
from tests.host.test_steps import lines
from tests.support.flowers import packing
from tests.support.laborers import labor
from tests.support.system import System, run, until
from tests.support.waiters import slow, waiter


def test_given_a_run_when_it_is_forked_then_what_it_had_completed_is_not_done_again(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    given = {"path": str(path), "parts": 3}

    async def scenario() -> None:
        async with system.pod(labor), system.client() as client:
            first = await client.submit(labor, "a", "work", given, id="first", tags=["blue"])
            await until(lambda: system.sql("SELECT count(*) FROM log WHERE type = 'troupe.step'") == [(2,)])
            await first.signal("other", "for nobody")
            await first.signal("go", "now")
            assert await first.result() == "now"
            done = ["part 1", "part 2", "part 3 now"]
            assert lines(path) == done

            waits = await first.fork(3, id="waits")
            await reaches(client, waits, "running")
            await waits.signal("go", "then")
            assert await waits.result() == "then"
            assert lines(path) == [*done, "part 3 then"], "the steps before it are not done again"
            heard = await first.fork(4, id="heard", key="b")
            assert await heard.result() == "now", "the signal that the other one took is recorded"
            again = await heard.fork(4, id="again")
            assert await again.result() == "now", "a fork can be forked"
            whole = await first.fork(5, id="whole", tags=[])
            assert await whole.result() == "now"
            assert lines(path) == [*done, "part 3 then", "part 3 now", "part 3 now"]

            other = tmp_path / "other"
            shorter = await first.fork(2, body=f'{{"path": "{other}", "parts": 2}}'.encode(), id="shorter")
            await reaches(client, shorter, "running")
            await shorter.signal("go", "new")
            assert (await shorter.result(), lines(other)) == ("new", ["part 2 new"])

            described = await waits.describe()
            assert (described.tags, described.steps) == (["blue"], 4)
            numbered = [(one.number, one.name) for one in described.timeline if one.what == "step"]
            assert numbered == [(1, "part 1"), (2, "part 2"), (3, "$signal go"), (4, "part 3")]
            told = moments(described)  # it may hear of its signal before what it begins with is in the log
            assert told.count(("signal", "go")) == 1, "what was said later is not copied"
            assert [one for one in told if one[0] != "signal"][:2] == [("forked", ""), ("step", "part 1")]
            said = moments(await heard.describe())
            assert said[:2] == [("forked", ""), ("signal", "other")], "what was said before and not taken is"
            steps = [(one.number, one.value) for one in (await first.describe()).timeline if one.what == "step"]
            assert steps[2][1]["value"] == "now", "the other one is as it was"
            with pytest.raises(CallFailed, match="has completed 4 steps: begin at one of 1 to 5"):
                await first.fork(6)

    run(scenario())


def test_given_a_fork_when_its_pod_is_killed_then_the_next_one_goes_on_with_what_was_copied(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    pod = system.start_pod(MODULE)

    async def scenario() -> None:
        async with system.client() as client:
            first = await client.submit(labor, "a", "work", {"path": str(path), "parts": 3}, id="first")
            await until(lambda: path.exists() and len(lines(path)) == 2)
            fork = await first.fork(2, key="b", id="fork")
            await until(lambda: system.sql("SELECT count(*) FROM log WHERE payload->>'step' = 'part 2'") == [(2,)])
            assert lines(path) == ["part 1", "part 2", "part 2"]
            pod.kill()
            await asyncio.to_thread(system.start_pod, MODULE)
            for one in (first, fork):
                await one.signal("go", "on")
                assert await one.result(timeout_s=120) == "on"

    run(scenario())
    assert sorted(lines(path)) == ["part 1", "part 2", "part 2", "part 3 on", "part 3 on"]
    assert system.sql("SELECT count(*) FROM log WHERE payload->>'step' = '$forked'") == [(1,)]


def test_given_a_run_that_asked_when_it_is_forked_then_it_has_the_answer(system: System, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    for name in ("answer", "end"):
        Path(f"{path}.{name}").touch()

    async def scenario() -> None:
        async with system.pod(waiter, slow), system.client() as client:
            asking = await client.submit(waiter, "w", "question", {"path": str(path), "to": "s"}, id="asking")
            assert await asking.result() == "thought"
            fork = await asking.fork(1, id="fork", key="v")
            assert await fork.result() == "thought"
            again = await fork.fork(1, id="again", key="u")
            assert await again.result() == "thought"

    run(scenario())
    assert lines(path) == ["think"], "nobody is asked again"


def test_given_runs_that_failed_or_go_on_when_they_are_restarted_then_new_ones_take_their_places(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(labor), system.client() as client:
            broken = await client.submit(labor, "b", "mend", {"path": str(path)}, id="broken")
            await reaches(client, broken, "parked")
            Path(f"{path}.mended").touch()
            mended = await broken.restart(2, id="mended", by="ann", reason="mended")
            assert await mended.result() == "mended"
            assert lines(path) == ["begin"]
            with pytest.raises(Rejected, match="is not parked but failed"):
                await broken.retry()
            first = await client.submit(labor, "a", "work", {"path": str(path)}, id="first")
            await until(lambda: lines(path) == ["begin", "part 1"])
            second = await first.restart(1, id="second")
            await reaches(client, second, "running")
            await second.signal("go", "on")
            assert await second.result() == "on"
            expected = {"broken": "failed", "mended": "completed", "first": "terminated", "second": "completed"}
            assert await states(client) == expected

    run(scenario())
    assert lines(path) == ["begin", "part 1", "part 1", "part 2 on"]
    assert system.sql("SELECT status FROM dead_letters") == [("dropped",)]


def test_given_a_workflow_when_it_is_forked_and_terminated_then_the_fork_has_a_key_of_its_own(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    given = {"order": "o", "path": str(path)}

    async def scenario() -> None:
        async with system.pod(packing), system.client() as client:
            first = await client.submit(packing, "p", "run", given, id="first")
            # What was said before the step, and taken behind it, would be the fork's as well.
            await until(lambda: system.sql("SELECT 1 FROM log WHERE payload->>'step' = 'pack'"))
            await first.signal("packed")
            assert await first.result() == "packed o"
            fork = await first.fork(2, id="fork")
            await reaches(client, fork, "running")
            await fork.signal("packed")
            assert (fork.key, await fork.result()) == ("p-fork-fork", "packed o")
            assert lines(path) == ["pack o"], "the fork does not pack again"
            second = await client.submit(packing, "q", "run", given, id="second")
            await reaches(client, second, "running")
            await second.terminate("stuck")
            with pytest.raises(CallFailed, match="was terminated: stuck"):
                await second.result()
            with pytest.raises(Rejected, match="whose key is its run: fork it"):
                await first.restart(1)

    run(scenario())
    ended = system.sql("SELECT key FROM log WHERE type = 'troupe.ended' ORDER BY key")
    assert ended == [("p",), ("p-fork-fork",), ("q",)]
