"""Workflows on real servers: whatever dies, each step runs once, and the result is that of an undisturbed run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runtime.client import Client
from runtime.client.orders import settle
from runtime.client.runs import Run
from runtime.errors import CallFailed, Rejected
from runtime.flow.context import Workflow
from runtime.workflow import workflow
from tests.host.test_steps import lines
from tests.support.flowers import (
    brief,
    counting,
    finishing,
    herald,
    latest,
    once,
    packing,
    pondering,
    priced,
    shopping,
)
from tests.support.system import PodProcess, System, run, until

MODULE = "tests.support.flowers"
STEPS = "SELECT payload->>'step' FROM log WHERE type = 'troupe.step'"


async def current(client: Client, kind: Any, key: str) -> dict[str, Any]:
    """What a workflow says of its run."""
    answer: dict[str, Any] = await client.query(kind, key, "current")
    return answer


async def replace(system: System, pods: list[PodProcess]) -> None:
    """Kills the last pod, and starts another one."""
    pods[-1].kill()
    pods.append(await asyncio.to_thread(system.start_pod, MODULE))


def test_given_pods_killed_all_along_then_a_workflow_takes_each_step_once_and_its_child_too(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "done"
    pods = [system.start_pod(MODULE)]
    items = ["a", "bb", "ccc", "dddd", "eeeee"]

    async def scenario() -> None:
        async with system.client() as client:
            begun = await client.submit(shopping, "order-1", "run", {"path": str(path), "items": items}, id="run")
            await until(lambda: ("charge",) in system.sql(STEPS))
            await replace(system, pods)
            (tmp_path / "done.mail").touch()
            await until(lambda: ("$publish status",) in system.sql(STEPS))
            with pytest.raises(Rejected, match="no street, and the run is charged"):
                await begun.update("address", {"street": ""}, timeout_s=60)
            with pytest.raises(CallFailed, match="invalid_arguments"):
                await begun.update("address", {"road": 1}, timeout_s=60)
            assert system.sql("SELECT count(*) FROM log WHERE type = 'troupe.update'") == [(0,)]
            assert await begun.update("address", {"street": "Elm"}, type=str, timeout_s=60) == "to Elm"
            await until(lambda: ("pack",) in system.sql(STEPS))
            assert await client.query(shopping, "order-1", "status", type=str) == "running: addressed"
            await replace(system, pods)
            await (await client.workflow(packing, "order-1-pack")).signal("packed", timeout_s=60)
            result = await begun.result(timeout_s=90)
            assert result == {
                "prices": [1, 2, 3, 4, 5], "charge": "charge", "mail": "mail", "packed": "packed order-1",
                "street": "Elm",
            }  # fmt: skip
            assert await client.query(shopping, "order-1", "status", type=str) == "completed: packed"
            again = {"path": str(path), "items": items}
            assert await client.ask(shopping, "order-1", "run", again, timeout_s=60) == result, "a second start joins"
            with pytest.raises(Rejected, match="exists already .* with other arguments"):
                await client.ask(shopping, "order-1", "run", {"path": str(path), "items": []}, timeout_s=60)

    run(scenario())
    assert sorted(lines(path)) == ["charge", "mail", "pack order-1"]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]
    assert system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


def test_given_a_parent_that_is_cancelled_then_its_child_is_too_and_both_undo_what_they_did(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "done"
    (tmp_path / "done.mail").touch()

    async def scenario() -> None:
        async with system.pod(shopping, packing, priced), system.client() as client:
            begun = await client.submit(shopping, "order-2", "run", {"path": str(path), "items": ["a"]}, id="run")
            await until(lambda: ("mail",) in system.sql(STEPS))
            await begun.update("address", {"street": "Elm"})
            await until(lambda: ("pack",) in system.sql(STEPS))
            await begun.cancel("changed my mind")
            with pytest.raises(CallFailed, match="cancelled") as caught:
                await begun.result(timeout_s=60)
            assert caught.value.code == "cancelled"
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(0,)])
            assert (await current(client, packing, "order-2-pack"))["status"] == "failed"
            assert (await current(client, shopping, "order-2"))["status"] == "failed"

    run(scenario())
    assert sorted(lines(path)) == ["charge", "mail", "pack order-2", "refund", "unpack order-2"]

CONTINUED = "SELECT count(*) FROM log WHERE payload->>'step' = '$continued'"


def test_given_a_run_that_continues_as_new_then_it_keeps_its_waiter_its_signals_and_a_short_journal(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "done"
    pods = [system.start_pod(MODULE)]

    async def scenario() -> None:
        async with system.client() as client:
            begun = await client.submit(counting, "c", "run", {"path": str(path), "to": 6}, id="run")
            await until(lambda: system.sql("SELECT count(*) FROM pending WHERE state = 'running'") == [(1,)])
            await asyncio.gather(*[begun.signal("more", 1) for _ in range(4)])
            await until(lambda: system.sql(CONTINUED) == [(4,)])
            await replace(system, pods)
            await begun.signal("more", 1, timeout_s=60)
            await begun.signal("more", 1, timeout_s=60)
            assert await begun.result(timeout_s=60) == 6
            assert (await current(client, counting, "c"))["published"] == {"number": 6}

    run(scenario())
    assert lines(path) == [f"{generation}: {generation + 1}" for generation in range(6)]
    assert system.sql(CONTINUED) == [(5,)]


def test_given_a_key_that_has_a_run_then_a_second_start_does_what_its_policy_says(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "done"

    async def scenario() -> None:
        kinds = [shopping, once, latest, priced, packing, herald]
        async with system.pod(*kinds), system.client() as client:
            assert await client.ask(once, "o", "run", id="first") == "done"
            assert await client.ask(once, "o", "run", id="first") == "done", "a repeat is answered as the first one"
            with pytest.raises(Rejected, match="exists already .completed, command first.: choose another id"):
                await client.ask(once, "o", "run", id="second")

            first = await client.submit(latest, "l", "run", {"number": 1, "path": str(path)}, id="one")
            await until(lambda: ("begin",) in system.sql(STEPS))
            second = await client.submit(latest, "l", "run", {"number": 2, "path": str(path)}, id="two")
            with pytest.raises(CallFailed, match="command two replaces it"):
                await first.result(timeout_s=60)
            await until(lambda: lines(path)[-1] == "begin 2")
            await second.signal("go 2")
            assert await second.result(timeout_s=60) == 2

            args = {"path": str(path), "items": ["a"]}
            joined: list[Run] = [await client.submit(shopping, "j", "run", args, id=f"join-{n}") for n in range(3)]
            with pytest.raises(Rejected, match="exists already .running, command join-0. with other arguments"):
                await client.ask(shopping, "j", "run", args | {"items": []})
            (tmp_path / "done.mail").touch()
            await joined[0].update("address", {"street": "Elm"})
            await until(lambda: ("pack",) in system.sql(STEPS))
            assert await client.ask(herald, "h1", "run", {"key": "nobody"}) is False
            assert await client.ask(herald, "h2", "run", {"key": "j-pack"}) is True
            results = await asyncio.gather(*[one.result(timeout_s=60) for one in joined])
            assert results[0] == results[1] == results[2]

    run(scenario())
    assert lines(path)[:3] == ["begin 1", "undo 1", "begin 2"]


def test_given_several_starts_that_wait_behind_a_run_then_the_last_one_replaces_them_all(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "done"

    async def scenario() -> None:
        async with system.pod(latest), system.client() as client:
            begun: list[Run] = []
            for number in range(1, 5):
                args = {"number": number, "path": str(path)}
                begun.append(await client.submit(latest, "l", "run", args, id=f"run-{number}"))
            for one in begun[:-1]:
                with pytest.raises(CallFailed, match="replaces it"):
                    await one.result(timeout_s=60)
            await begun[-1].signal("go 4", timeout_s=60)
            assert await begun[-1].result(timeout_s=60) == 4

    run(scenario())


def test_given_many_steps_side_by_side_then_they_are_handed_over_in_the_order_of_the_log(system: System) -> None:
    async def scenario() -> list[int]:
        async with system.pod(finishing), system.client() as client:
            result: list[int] = await client.ask(finishing, "f", "run", {"tasks": 60}, timeout_s=60)
            return result

    order = run(scenario())
    assert [(number,) for number in order] == system.sql(
        "SELECT (payload->>'result')::int FROM log WHERE type = 'troupe.step' ORDER BY seq"
    )


def test_given_a_workflow_that_waits_in_several_tasks_then_it_is_suspended_meanwhile(system: System) -> None:
    suspended = "SELECT 1 FROM pending WHERE state = 'waiting' AND due_at > now()"

    async def scenario() -> None:
        async with system.pod(pondering, suspend_after_s=0.2) as pod, system.client() as client:
            begun = await client.submit(pondering, "p", "run", id="run")
            await until(lambda: system.sql(suspended))
            await begun.signal("go", 1)
            await until(lambda: ("$signal go",) in system.sql(STEPS))
            await until(lambda: system.sql(suspended))
            await until(lambda: len(pod.executions) == 0)
            await begun.signal("go", 2)
            assert await begun.result(timeout_s=60) == ["go", 1, 2]

    run(scenario())


def test_given_time_outs_of_a_definition_then_they_hold_from_a_runs_start_on_unless_its_command_has_its_own(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(brief), system.client() as client:
            late = await client.submit(brief, "late", "run", delay_s=3600)
            longer = await client.submit(brief, "longer", "run", run_timeout_s=3600)
            with pytest.raises(CallFailed, match="took longer than its time-out, 0.300 s") as caught:
                await client.ask(brief, "short", "run", timeout_s=60)
            assert caught.value.code == "timed_out"
            until_ended = "SELECT extract(epoch FROM expires_at - due_at)::float FROM pending WHERE key = 'late'"
            assert system.sql(until_ended) == [(pytest.approx(0.3, abs=0.01),)]
            await longer.signal("go", 7)
            assert await longer.result(timeout_s=60) == 7
            assert (await late.describe()).status == "queued"

    run(scenario())


def test_given_a_run_that_began_when_new_code_does_not_take_its_arguments_then_it_is_parked_and_can_be_replayed(
    system: System,
) -> None:
    @workflow("changed")
    async def before(ctx: Workflow, count: int) -> int:
        more: int = await ctx.signal("more", returns=int)
        return count + more

    @workflow("changed")
    async def after(ctx: Workflow, words: list[str]) -> int:
        return len(words)

    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(before):
                begun = await client.submit("changed", "k", "run", {"count": 3})
                begins = "SELECT count(*) FROM log WHERE type = 'troupe.started' AND kind = 'changed'"
                await until(lambda: system.sql(begins) == [(1,)])
            async with system.pod(after):
                await until(lambda: system.sql("SELECT count(*) FROM pending") == [(0,)])
                assert (await current(client, "changed", "k"))["status"] == "parked"
            async with system.pod(before):
                ((letter,),) = system.sql("SELECT id FROM dead_letters")
                await settle(client, letter, "changed", "k", "replay", "ann", "the code is back", timeout_s=60)
                await begun.signal("more", 4, timeout_s=60)
                await until(lambda: system.sql("SELECT count(*) FROM pending") == [(0,)])
                assert (await current(client, "changed", "k"))["status"] == "completed"

    run(scenario())
