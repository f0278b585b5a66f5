"""Lanes change hands: crashes, frozen pods, hand-overs, poison that kills its process. Real processes, real signals."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from runtime.client import Client
from runtime.errors import CallFailed
from tests.support.kinds import Add, counter
from tests.support.system import PodProcess, System, run, until

KEYS = 16

EPOCHS_INTERLEAVE = """
    SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER (PARTITION BY actor ORDER BY seq) AS back FROM events) e
    WHERE back
"""


def owners(system: System) -> Counter[str]:
    """How many lanes each living pod owns."""
    rows = system.sql(
        "SELECT p.owner FROM partitions p JOIN pods d ON d.id = p.owner AND d.expires_at > clock_timestamp()"
    )
    return Counter(owner for (owner,) in rows)


async def balanced(system: System, pods: list[PodProcess]) -> None:
    """Waits until the pods share all lanes."""
    share = system.partitions / len(pods)
    await until(lambda: set(owners(system)) == {p.name for p in pods} and max(owners(system).values()) <= share + 1)


async def load(client: Client, stop: asyncio.Event, answers: dict[str, list[int]]) -> None:
    """Adds one to every key, one at a time each, until told to stop."""

    async def key(name: str) -> None:
        while not stop.is_set():
            answers[name].append(await client.ask(counter, name, Add(1), timeout_s=120))

    await asyncio.gather(*[key(name) for name in answers])


async def under_load(system: System, fault: object) -> dict[str, list[int]]:
    """Runs a fault under load; gives the answers by key."""
    answers: dict[str, list[int]] = {f"k{n}": [] for n in range(KEYS)}
    stop = asyncio.Event()
    async with system.client() as client:
        work = asyncio.ensure_future(load(client, stop, answers))
        await until(lambda: all(len(values) > 3 for values in answers.values()))
        await fault()  # type: ignore[operator]  # a coroutine function
        seen = {name: len(values) for name, values in answers.items()}
        await until(lambda: all(len(values) > seen[name] + 3 for name, values in answers.items()))
        stop.set()
        await work
    return answers


def assert_exactly_once(system: System, answers: dict[str, list[int]]) -> None:
    """Every answer came once and in order, and the log holds just these."""
    for name, values in answers.items():
        assert values == list(range(1, len(values) + 1)), name
    counted = dict(system.sql("SELECT key, count(*) FROM log GROUP BY key"))
    assert counted == {name: len(values) for name, values in answers.items()}
    assert system.sql(EPOCHS_INTERLEAVE) == [(0,)]


def test_given_two_pods_when_one_is_killed_then_the_other_goes_on_exactly_once(system: System) -> None:
    pods = [system.start_pod(), system.start_pod()]

    async def scenario() -> dict[str, list[int]]:
        await balanced(system, pods)

        async def fault() -> None:
            pods[0].kill()
            await until(lambda: owners(system) == {pods[1].name: system.partitions})

        return await under_load(system, fault)

    assert_exactly_once(system, run(scenario()))


def test_given_a_frozen_pod_when_it_wakes_after_its_lease_then_it_is_fenced(system: System) -> None:
    pods = [system.start_pod(), system.start_pod()]

    async def scenario() -> dict[str, list[int]]:
        await balanced(system, pods)

        async def fault() -> None:
            pods[0].freeze()
            await until(lambda: owners(system) == {pods[1].name: system.partitions})
            pods[0].wake()
            await balanced(system, pods)

        return await under_load(system, fault)

    assert_exactly_once(system, run(scenario()))
    assert pods[0].process.poll() is None, "the woken pod should live on"


def test_given_sigterm_when_a_pod_leaves_then_it_hands_over_and_ends_with_0(system: System) -> None:
    pods = [system.start_pod(), system.start_pod()]

    async def scenario() -> dict[str, list[int]]:
        await balanced(system, pods)

        async def fault() -> None:
            assert await asyncio.to_thread(pods[0].terminate) == 0
            await until(lambda: owners(system) == {pods[1].name: system.partitions})

        return await under_load(system, fault)

    assert_exactly_once(system, run(scenario()))
    assert system.sql("SELECT count(*) FROM pods") == [(1,)]


def test_given_a_command_that_kills_its_process_when_tried_three_times_then_it_is_parked(system: System) -> None:
    pods = [system.start_pod()]

    async def scenario() -> None:
        async with system.client() as client:
            await client.ask(counter, "victim", Add(1))
            poison = asyncio.ensure_future(client.ask(counter, "victim", "die", timeout_s=120))
            behind = asyncio.ensure_future(client.ask(counter, "victim", Add(1), timeout_s=120))
            others = [asyncio.ensure_future(client.ask(counter, f"k{n}", Add(1), timeout_s=120)) for n in range(20)]
            while not poison.done():
                if pods[-1].process.poll() is not None:
                    pods.append(await asyncio.to_thread(system.start_pod))
                await asyncio.sleep(0.05)
            with pytest.raises(CallFailed) as caught:
                await poison
            assert "died" in str(caught.value)
            assert await behind == 2
            assert await asyncio.gather(*others) == [1] * 20

    run(scenario())
    assert len(pods) <= 6
    assert system.sql("SELECT method, status FROM dead_letters") == [("die", "parked")]


def test_given_lost_database_connections_when_cut_again_and_again_then_nothing_is_lost_or_doubled(
    system: System,
) -> None:
    system.start_pod()

    async def scenario() -> dict[str, list[int]]:
        async def fault() -> None:
            for _ in range(4):
                system.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'troupe' AND pid <> pg_backend_pid()"
                )
                await asyncio.sleep(0.5)

        return await under_load(system, fault)

    assert_exactly_once(system, run(scenario()))


def test_given_a_running_execution_when_its_pod_is_killed_then_the_next_owner_starts_it_again(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    pods = [system.start_pod()]

    async def scenario() -> None:
        async with system.client() as client:
            held = {"item": "tea", "quantity": 2, "path": str(path)}
            slow = asyncio.ensure_future(client.ask("cart", "c", "put_slowly", held, timeout_s=120))
            await until(lambda: system.sql("SELECT state FROM pending") == [("running",)])
            behind = asyncio.ensure_future(client.ask("cart", "c", "put", {"item": "tea"}, timeout_s=120))
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(2,)])
            pods[0].kill()
            path.touch()
            pods.append(await asyncio.to_thread(system.start_pod))
            assert await slow == 2
            assert await behind == 3

    run(scenario())
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]
    assert system.sql("SELECT count(*) FROM events") == [(2,)]


def test_given_timers_and_messages_when_the_pod_is_killed_then_they_still_happen_once(system: System) -> None:
    pods = [system.start_pod()]

    async def scenario() -> None:
        async with system.client() as client:
            await client.ask(counter, "a", Add(100))
            for n in range(10):
                await client.ask(counter, "a", "add_later", {"amount": 1, "after_s": 1.0, "name": f"t{n}"})
            for _ in range(10):
                await client.tell(counter, "a", "forward", {"to": "b", "amount": 1})
            pods[0].kill()
            pods.append(await asyncio.to_thread(system.start_pod))

            async def settled() -> bool:
                return (
                    await client.query(counter, "a", "value") == 100
                    and await client.query(counter, "b", "value") == 10
                    and system.sql("SELECT count(*) FROM timers") == [(0,)]
                )

            await until(settled)

    run(scenario())
    assert system.sql("SELECT key, count(*) FROM log GROUP BY key ORDER BY key") == [("a", 21), ("b", 10)]
