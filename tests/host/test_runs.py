"""Runs are listed in exactly one state, described with their timelines, and ended or gone on with by a person."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from runtime.client import Client, listing
from runtime.client.failures import decode_as
from runtime.client.orders import order
from runtime.client.runs import Run
from runtime.errors import CallFailed, Rejected
from runtime.host.listing import filter_of
from runtime.postgres.keeping import PostgresKeeping
from runtime.postgres.reading import PostgresReader
from schemas.timeline import ListedRun, RunDescription
from tests.host.test_steps import lines
from tests.support.flowers import packing
from tests.support.laborers import errand, labor
from tests.support.system import System, run, until

MODULE = "tests.support.laborers"


async def states(client: Client, **wanted: Any) -> dict[str, str]:
    return {one.id: one.status async for one in client.runs(**wanted)}


async def reaches(client: Client, of: Run, status: str) -> ListedRun:
    """Waits until the list says so."""
    while True:
        for one in [one async for one in client.runs(key=of.key)]:
            if (one.id, one.status) == (of.command_id, status):
                return one
        await asyncio.sleep(0.02)


async def seen_by(system: System, tenant: str) -> int:
    """How many runs of tenant `default` another one can see, by its own rights and by asking."""
    reader = PostgresReader(system.postgres_url, system.partitions, role="troupe_reader", tenant=tenant)
    found = await reader.runs("default", filter_of(None, None, None, None, None, None), 100)
    await reader.close()
    async with system.client(tenant) as client:
        assert len(await states(client)) == len(found)
    return len(found)


async def trim(system: System, age_s: float) -> None:
    """Deletes what ended longer ago, as housekeeping does."""
    keeping = PostgresKeeping(system.postgres_url)
    while await keeping.trim_runs(age_s):
        pass
    await keeping.close()


def moments(described: RunDescription) -> list[tuple[str, str]]:
    return [(one.what, one.name) for one in described.timeline]


def test_given_runs_in_every_state_when_listed_then_each_is_there_once_in_its_state(
    system: System, tmp_path: Path
) -> None:
    path = str(tmp_path / "notes")

    async def scenario() -> None:
        async with system.pod(labor, errand, suspend_after_s=0.0) as _, system.client() as client:
            running = await client.submit(labor, "a", "work", {"path": path}, id="running", tags=["blue", "customer:1"])
            await reaches(client, running, "running")
            queued = await client.submit(labor, "a", "work", {"path": path}, id="queued", tags=["blue"])
            await reaches(client, queued, "queued")
            putting = asyncio.ensure_future(client.ask(labor, "a", "put", {"value": 1}, id="decision"))
            broken = await client.submit(labor, "b", "mend", {"path": path}, id="broken")
            refused = await client.submit(labor, "c", "refuse", id="refused")
            for number in range(3):
                assert await client.ask(errand, f"e{number}", "run", {"what": "x"}, id=f"errand{number}") == "x"
            await reaches(client, broken, "parked")
            await reaches(client, refused, "rejected")
            everyone = {
                "running": "running",
                "queued": "queued",
                "broken": "parked",
                "refused": "rejected",
                **{f"errand{number}": "completed" for number in range(3)},
            }
            assert await states(client) == everyone
            assert await states(client, status=["live"]) == {"running": "running", "queued": "queued"}
            assert await states(client, status=["parked", "rejected"]) == {"broken": "parked", "refused": "rejected"}
            assert set(await states(client, kind="errand")) == {"errand0", "errand1", "errand2"}
            assert set(await states(client, tag="blue")) == {"running", "queued"}
            assert set(await states(client, tag="customer:1", status=["ended"])) == set()
            for limit in (1, 2, 7):
                ids = [one.id async for one in client.runs(limit=limit)]
                assert (len(ids), set(ids)) == (7, set(everyone)), "each once, whatever the pages"
            latest = [one.since async for one in client.runs()]
            assert latest == sorted(latest, reverse=True)
            described = await queued.describe()
            assert (described.held_by is not None and described.held_by.id, described.ahead) == ("running", 1)
            assert (described.arguments, described.tags) == ({"path": path}, ["blue"])
            failed = await broken.describe()
            assert (failed.code, failed.attempts) == ("handler_failed", 2)
            assert moments(failed) == [("step", "begin"), ("attempt", ""), ("parked", "")]
            with pytest.raises(CallFailed, match="has no run 'nobody'"):
                await client.run_of("labor", "a", "work", b"", "nobody").describe()
            with pytest.raises(CallFailed, match="is no status of a run"):
                await states(client, status=["sleeping"])
            await running.signal("go", "now")
            await queued.signal("go", "then")
            assert (await running.result(), await queued.result(), await putting) == ("now", "then", 1)
            assert await states(client, status=["live"]) == {}
            assert [await seen_by(system, tenant) for tenant in ("default", "acme")] == [7, 0]
            whole = await running.describe()
            steps = [(one.number, one.name) for one in whole.timeline if one.what == "step"]
            assert steps == [(1, "part 1"), (2, "$signal go"), (3, "part 2")]
            assert whole.status == "completed" and whole.ended_at is not None

    run(scenario())
    assert system.sql("SELECT count(*) FROM runs") == [(7,)], "decisions are no runs"
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]
    system.sql("UPDATE runs SET ended_at = now() - interval '8 days' WHERE command_id <> 'errand0' RETURNING 1")
    run(trim(system, age_s=604_800.0))
    left = {row[0] for row in system.sql("SELECT command_id FROM runs")}
    assert left == {"broken", "errand0"}, "what is parked stays, and what has ended just now"


def test_given_a_parked_run_when_it_is_retried_then_it_goes_on_with_what_it_has_completed(
    system: System, tmp_path: Path
) -> None:
    path = str(tmp_path / "notes")

    async def scenario() -> None:
        async with system.pod(labor), system.client() as client:
            broken = await client.submit(labor, "b", "mend", {"path": path}, tags=["red"])
            await reaches(client, broken, "parked")
            Path(f"{path}.mended").touch()
            await broken.retry("mended", by="ann")
            assert await broken.result() == "mended"
            mended = await reaches(client, broken, "completed")
            assert mended.tags == ["red"]
            with pytest.raises(Rejected, match="is not parked but completed"):
                await broken.retry()
            described = await broken.describe()
            assert moments(described) == [("step", "begin"), ("attempt", ""), ("parked", ""), ("replayed", "mended")]
            assert described.timeline[-1].by == "ann"
            dropped = await client.submit(labor, "d", "refuse", id="x")
            await reaches(client, dropped, "rejected")

    run(scenario())
    assert lines(Path(path)) == ["begin"], "what it had completed is not done again"


def test_given_a_running_run_when_it_is_terminated_then_it_ends_without_its_handler_and_the_next_one_goes_on(
    system: System, tmp_path: Path
) -> None:
    path = str(tmp_path / "notes")

    async def scenario() -> None:
        async with system.pod(labor), system.client() as client:
            first = await client.submit(labor, "a", "work", {"path": path}, id="first")
            second = await client.submit(labor, "a", "work", {"path": path}, id="second")
            third = await client.submit(labor, "a", "work", {"path": path}, id="third")
            await until(lambda: len(lines(Path(path))) == 1)
            await reaches(client, third, "queued")
            await third.terminate("not wanted", by="ann", id="once")
            await third.terminate("not wanted", by="ann", id="once")
            await first.terminate("stuck")
            for ended in (first, third):
                with pytest.raises(CallFailed, match="was terminated") as caught:
                    await ended.result()
                assert caught.value.code == "terminated"
            await second.signal("go", "on")
            assert await second.result() == "on"
            with pytest.raises(CallFailed, match="is not running"):
                await first.terminate()
            found = await states(client)
            assert found == {"first": "terminated", "second": "completed", "third": "terminated"}
            described = await third.describe()
            told = [(one.what, one.name, one.by) for one in described.timeline]
            assert told == [("terminate", "not wanted", "ann")]

    run(scenario())
    assert lines(Path(path)) == ["part 1", "part 1", "part 2 on"]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_time_outs_when_they_are_over_then_runs_that_wait_or_run_too_long_are_ended(
    system: System, tmp_path: Path
) -> None:
    path = str(tmp_path / "notes")

    async def scenario() -> None:
        async with system.pod(labor), system.client() as client:
            first = await client.submit(labor, "a", "work", {"path": path}, id="first")
            await reaches(client, first, "running")
            late = await client.submit(labor, "a", "work", {"path": path}, id="late", queue_timeout_s=0.3)
            with pytest.raises(CallFailed, match="waited longer than it may, 0.300 s") as caught:
                await late.result(timeout_s=120)
            assert caught.value.code == "expired"
            slow = await client.submit(labor, "b", "work", {"path": path}, id="slow", run_timeout_s=0.3)
            with pytest.raises(CallFailed, match="took longer than its time-out, 0.300 s") as caught:
                await slow.result(timeout_s=120)
            assert caught.value.code == "timed_out"
            third = await client.submit(
                labor, "b", "work", {"path": path}, id="third", queue_timeout_s=3600.0, run_timeout_s=7200.0
            )
            await reaches(client, third, "running")
            await third.signal("go", "in time")
            assert await third.result() == "in time"
            found = await states(client)
            assert Counter(found.values()) == {"timed_out": 2, "running": 1, "completed": 1}
            with pytest.raises(CallFailed, match="is no time-out"):
                await client.submit(labor, "b", "work", {"path": path}, run_timeout_s=-1.0)
            page = await listing.page(client, status=["timed_out"], limit=1)
            assert page.cursor is not None

    run(scenario())


def test_given_a_time_out_that_ends_while_no_pod_runs_then_the_next_owner_ends_its_run(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    modules = (MODULE, "tests.support.flowers")
    pod = system.start_pod(*modules)

    async def scenario() -> None:
        async with system.client() as client:
            first = await client.submit(labor, "a", "work", {"path": str(path)}, id="first", run_timeout_s=3600.0)
            late = await client.submit(labor, "a", "work", {"path": str(path)}, id="late", queue_timeout_s=3600.0)
            order = {"order": "o", "path": str(path)}
            flow = await client.submit(packing, "o", "run", order, id="flow", run_timeout_s=3600.0)
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(3,)])
            pod.kill()
            over = """SET headers = regexp_replace(headers, '(Run|Queue)-Until":"\\d+', '\\1-Until":"1')"""
            assert len(system.sql(f"UPDATE pending {over} RETURNING 1")) == 3
            await asyncio.to_thread(system.start_pod, *modules)
            for ended in (first, late, flow):
                with pytest.raises(CallFailed) as caught:
                    await ended.result(timeout_s=120)
                assert caught.value.code in ("timed_out", "expired")
            assert await states(client) == {"first": "timed_out", "late": "timed_out", "flow": "timed_out"}
            of = decode_as((await client.read("packing", "o", "current", b"", timeout_s=60)).result, dict[str, Any])
            assert of["status"] == "failed"
            assert "took longer than its time-out" in of["error"]

    run(scenario())


def test_given_a_key_that_is_held_when_its_holder_is_skipped_then_the_next_goes_on_and_it_can_be_retried(
    system: System, tmp_path: Path
) -> None:
    path = str(tmp_path / "notes")

    async def scenario() -> None:
        async with system.pod(labor), system.client() as client:
            first = await client.submit(labor, "a", "work", {"path": path}, id="first")
            await until(lambda: lines(Path(path)) == ["part 1"])
            putting = asyncio.ensure_future(client.ask(labor, "a", "put", {"value": 1}, id="decision"))
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(2,)])
            described = await client.read("labor", "a", "$describe", b"", timeout_s=60)
            held = decode_as(described.result, dict[str, Any])["held_by"]
            assert (held["command_id"], held["state"]) == ("first", "running")
            skipped = await order(client, "labor", "a", "skip", "ann", "gone", timeout_s=60)
            assert skipped["skipped"] == "first"
            assert await putting == 1
            with pytest.raises(CallFailed, match="was skipped: gone \\(by ann\\)"):
                await first.result()
            with pytest.raises(Rejected, match="nothing holds the key"):
                await order(client, "labor", "a", "skip", "ann", "gone", timeout_s=60)
            assert await states(client) == {"first": "parked"}
            await first.retry()
            await reaches(client, first, "running")
            await first.signal("go", "on")
            assert await first.result() == "on"

    run(scenario())
    assert lines(Path(path)) == ["part 1", "part 2 on"]
    assert system.sql("SELECT payload->>'by' FROM log WHERE type = 'troupe.skipped'") == [("ann",)]
