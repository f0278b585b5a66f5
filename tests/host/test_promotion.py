"""Pinned versions: a group stands by, is promoted under load, and the way back. Real processes, real signals."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runtime.client import Client
from runtime.errors import CallFailed, Rejected
from runtime.host.pod import Pod
from runtime.postgres.groups import PostgresGroups
from tests.host.test_ownership import assert_exactly_once, under_load
from tests.support.kinds import Add, cart, counter, double, patient
from tests.support.system import PodProcess, System, run, until

GROUPS_MIXED = """
    SELECT count(*) FROM (SELECT code_version < lag(code_version) OVER (PARTITION BY actor ORDER BY seq) AS back
                          FROM events) e WHERE back
"""
"""Events of v1 behind events of v2 of the same actor."""


def start(system: System, version: str, **settings: Any) -> PodProcess:
    """A pod of that version, in a group of its own."""
    return system.start_pod(group=version, code_version=version, **settings)


async def promote(client: Client, group: str, **more: Any) -> dict[str, Any]:
    """Promotes a group, waiting until it is ready."""
    done: dict[str, Any] = await client.service("promote", {"group": group} | more, timeout_s=120)
    return done


async def group(client: Client, name: str) -> dict[str, Any]:
    """What `runtime groups list` says of a group."""
    found: dict[str, Any] = await client.service("groups")
    return next(one for one in found["groups"] if one["group"] == name)


def live(system: System) -> list[tuple[str, int]]:
    """How many lanes each group works on."""
    return [
        (name, count)
        for name, count in system.sql("SELECT group_name, count(*) FROM partitions WHERE NOT standby GROUP BY 1")
    ]


async def worked_on_by(system: System, pods: list[PodProcess]) -> None:
    """Waits until these pods own all the lanes that are worked on."""
    owners = "SELECT DISTINCT owner FROM partitions WHERE NOT standby"
    await until(lambda: set(system.sql(owners)) <= {(pod.name,) for pod in pods})


def test_given_a_pinned_version_under_load_when_promoted_and_back_then_everything_is_done_once_in_order(
    system: System,
) -> None:
    pods = [start(system, "v1"), start(system, "v1"), start(system, "v2"), start(system, "v2")]

    async def scenario() -> dict[str, list[int]]:
        async def fault() -> None:
            async with system.client() as client:
                await until(lambda: _ready(client, "v2"))
                assert system.sql("SELECT DISTINCT code_version FROM events") == [("v1",)]
                done = await promote(client, "v2")
                last = "SELECT max(position) FROM events WHERE code_version = 'v1'"
                (at_rest,) = system.sql(last)
                assert (done["promoted"], done["replaced"]) == (True, "v1")
                assert live(system) == [("v2", system.partitions)]
                assert (await promote(client, "v2"))["promoted"] is False
                await worked_on_by(system, pods[2:])
                await until(lambda: system.sql("SELECT 1 FROM events WHERE code_version = 'v2' LIMIT 1"))
                assert system.sql(GROUPS_MIXED) == [(0,)]
                await until(lambda: _ready(client, "v1"))
                assert system.sql(last) == [at_rest], "the old group still commits"
                assert (await promote(client, "v1"))["replaced"] == "v2"
                await worked_on_by(system, pods[:2])

        return await under_load(system, fault)

    assert_exactly_once(system, run(scenario()))
    assert live(system) == [("v1", system.partitions)]
    assert all(pod.process.poll() is None for pod in pods)
    assert system.sql("SELECT kind FROM kinds WHERE group_name <> 'v1'") == []


async def _ready(client: Client, name: str) -> bool:
    found = await group(client, name)
    return bool(found["standby"] and found["ready"])


def test_given_work_of_every_sort_when_promoted_then_it_goes_over_and_no_attempt_is_lost(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "go"

    async def scenario() -> None:
        old = start(system, "v1", drain_s=0.1)
        async with system.client() as client:
            await client.ask(counter, "a", Add(100))
            for n in range(10):
                await client.ask(counter, "a", "add_later", {"amount": 1, "after_s": 2.0, "name": f"t{n}"})
            held = {"item": "tea", "quantity": 2, "path": str(path)}
            slow = asyncio.ensure_future(client.ask(cart, "c", "put_slowly", held, timeout_s=120))
            await until(lambda: system.sql("SELECT state FROM pending") == [("running",)])
            behind = [
                asyncio.ensure_future(client.ask(cart, "c", "put", {"item": "tea"}, id=f"b{n}", timeout_s=120))
                for n in range(5)
            ]
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(6,)])
            waiting = asyncio.ensure_future(client.ask(patient, "p", "run", {"path": str(path)}, timeout_s=120))
            await until(lambda: system.sql("SELECT count(*) FROM pending WHERE state = 'running'") == [(2,)])
            order = [id for (id,) in system.sql("SELECT command_id FROM pending WHERE state = 'waiting' ORDER BY ord")]
            new = start(system, "v2")
            await promote(client, "v2")
            await worked_on_by(system, [new])
            path.touch()
            for _ in range(10):
                await client.tell(counter, "a", "forward", {"to": "b", "amount": 1})
            assert await slow == 2
            assert await waiting == 1, "its first attempt was no failure"
            assert [await one for one in sorted(behind, key=lambda one: order.index(f"b{behind.index(one)}"))] == [
                3, 4, 5, 6, 7
            ]  # fmt: skip
            await until(lambda: system.sql("SELECT count(*) FROM timers") == [(0,)])
            await until(lambda: _values(client, a=100, b=10))
            assert old.process.poll() is None

    run(scenario())
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]
    assert system.sql("SELECT DISTINCT code_version FROM log WHERE kind = 'cart'") == [("v2",)]
    assert system.sql("SELECT key, count(*) FROM log WHERE kind = 'counter' GROUP BY key ORDER BY key") == [
        ("a", 21), ("b", 10)
    ]  # fmt: skip


async def _values(client: Client, **wanted: int) -> bool:
    return [await client.query(counter, key, "value") for key in wanted] == list(wanted.values())


def test_given_a_frozen_pod_of_the_old_group_when_it_wakes_then_it_is_fenced_and_was_waited_for(
    system: System,
) -> None:
    old = [start(system, "v1"), start(system, "v1")]
    new = start(system, "v2")

    async def scenario() -> dict[str, list[int]]:
        async def fault() -> None:
            async with system.client() as client:
                await until(lambda: _ready(client, "v2"))
                old[0].freeze()
                await promote(client, "v2")
                taken = "SELECT count(*) FROM partitions WHERE NOT standby AND owner <> %s"
                await until(lambda: system.sql(taken, old[0].name) == [(system.partitions,)])
                # It could not let go, so nobody may commit where it may still answer reads, before its lease is over.
                assert system.sql("SELECT id FROM pods WHERE id = %s AND expires_at > now()", old[0].name) == []
                await worked_on_by(system, [new])
                old[0].wake()
                await until(lambda: _ready(client, "v1"))

        return await under_load(system, fault)

    assert_exactly_once(system, run(scenario()))
    assert system.sql(GROUPS_MIXED) == [(0,)]
    assert old[0].process.poll() is None, "the woken pod should live on"


def test_given_a_pod_of_the_old_group_that_does_not_look_when_promoted_then_its_commits_are_fenced_until_it_lets_go(
    system: System,
) -> None:
    async def scenario() -> None:
        old = Pod(system.settings(group="v1", code_version="v1", balance_s=3600.0), [counter])
        await old.start()
        groups = PostgresGroups(system.postgres_url)
        async with system.client() as client:

            async def taken() -> bool:
                old.leases.look_now()
                return len(old.lanes) == system.partitions

            await until(taken)
            assert await client.ask(counter, "a", Add(1)) == 1
            new = Pod(system.settings(group="v2", code_version="v2"), [counter])
            await new.start()
            await until(lambda: _ready(client, "v2"))
            await groups.promote("v2")  # and nobody tells the pods
            asking = asyncio.ensure_future(client.ask(counter, "a", Add(1), timeout_s=120))
            await until(lambda: old.meter.fenced)
            assert system.sql("SELECT count(*) FROM events") == [(1,)]
            lanes = [lane for (lane,) in system.sql("SELECT lane FROM partitions WHERE NOT standby")]
            assert await new.ownership.take(lanes) == [], "the old pod may still answer reads from these lanes"
            old.leases.look_now()
            assert await asking == 2
            await groups.close()
            await new.stop()
            await old.stop()

    run(scenario())
    assert system.sql("SELECT code_version FROM events ORDER BY seq") == [("v1",), ("v2",)]


def test_given_a_promotion_under_way_when_every_pod_is_killed_then_the_old_group_goes_on(system: System) -> None:
    pods = [start(system, "v1"), start(system, "v2")]

    async def scenario() -> None:
        async with system.client() as client:
            assert await client.ask(counter, "a", Add(1)) == 1
            await until(lambda: _ready(client, "v2"))
            with psycopg.connect(system.postgres_url, options="-c search_path=troupe") as blocking:
                blocking.execute("SELECT FROM partitions WHERE group_name = 'v2' ORDER BY lane DESC LIMIT 1 FOR UPDATE")
                asking = asyncio.ensure_future(promote(client, "v2"))
                await until(
                    lambda: system.sql(
                        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE'"
                    )
                )
                for pod in pods:
                    pod.kill()
                asking.cancel()
            assert live(system) == [("v1", system.partitions)]
            start(system, "v1")
            assert await client.ask(counter, "a", Add(1), timeout_s=120) == 2
            assert (await group(client, "v1"))["current"]

    run(scenario())
    assert system.sql("SELECT DISTINCT code_version FROM events") == [("v1",)]


def test_given_promotions_back_and_forth_when_pods_are_killed_and_frozen_at_any_time_then_nothing_is_lost_or_doubled(
    system: System,
) -> None:
    chance = random.Random(7)
    groups = ("v1", "v2")
    pods = {name: [start(system, name), start(system, name)] for name in groups}

    async def shake(stop: asyncio.Event) -> None:
        while not stop.is_set():
            mine = pods[chance.choice(groups)]
            number = chance.randrange(2)
            if chance.random() < 0.5:
                mine[number].kill()
                name = next(name for name in groups if pods[name] is mine)
                mine[number] = await asyncio.to_thread(start, system, name)
            else:
                mine[number].freeze()
                await asyncio.sleep(chance.choice((0.3, 2.5)))
                mine[number].wake()
            await asyncio.sleep(chance.uniform(0.1, 1.0))

    async def scenario() -> dict[str, list[int]]:
        async def fault() -> None:
            stop = asyncio.Event()
            shaking = asyncio.ensure_future(shake(stop))
            async with system.client() as client:
                for name in ("v2", "v1") * 3:
                    done = await promote(client, name)
                    assert done["group"] == name
                    assert live(system) == [(name, system.partitions)]
                    assert system.sql("SELECT DISTINCT group_name FROM kinds") == [(name,)]
            stop.set()
            await shaking

        return await under_load(system, fault)

    assert_exactly_once(system, run(scenario()))


def test_given_a_group_that_is_not_ready_or_lacks_kinds_when_promoted_then_it_says_so_and_nothing_changes(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.client() as client, system.pod(counter, double, group="v1", code_version="v1"):
            with pytest.raises(CallFailed) as caught:
                await promote(client, "v2")
            assert caught.value.code == "not_found"
            new = Pod(system.settings(group="v2", code_version="v2"), [counter])
            await new.start()
            await until(lambda: _ready(client, "v2"))
            with pytest.raises(Rejected, match="not every pod of group 'v2' serves double, which group 'v1' does"):
                await promote(client, "v2")
            await new.stop()
            with pytest.raises(CallFailed) as caught:
                await client.service("promote", {"group": "v2"}, timeout_s=6.0)
            assert caught.value.code == "unavailable"
            assert f"no living pod of it owns {system.partitions} of its lanes" in str(caught.value)
            assert live(system) == [("v1", system.partitions)]
            assert await client.ask(counter, "a", Add(1)) == 1

    run(scenario())


def test_given_a_version_without_a_kind_when_promoted_all_the_same_then_its_commands_wait_for_the_way_back(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.client() as client, system.pod(counter, double, group="v1"):
            new = Pod(system.settings(group="v2"), [counter])
            await new.start()
            await promote(client, "v2", without_kinds=True)
            assert await client.ask(counter, "a", Add(1), timeout_s=60) == 1
            waiting = await client.submit(double, "k", "run", {"x": 4})
            await promote(client, "v1")
            assert await waiting.result(timeout_s=60) == 8
            await new.stop()

    run(scenario())


def test_given_a_new_kind_in_a_pinned_version_when_promoted_then_what_waited_for_it_is_done(system: System) -> None:
    async def scenario() -> None:
        async with system.client() as client, system.pod(counter, group="v1"):
            assert await client.ask(counter, "a", Add(1)) == 1
            new = Pod(system.settings(group="v2"), [counter, double])
            await new.start()
            await until(lambda: _ready(client, "v2"))
            await client.tell(double, "k", "run", {"x": 4}, id="early")
            assert [one.kind for one in await client.capabilities()] == ["counter"]
            await promote(client, "v2")
            assert [one.kind for one in await client.capabilities()] == ["counter", "double"]
            assert await client.ask(double, "k", "run", {"x": 4}, id="early", timeout_s=60) == 8
            assert await client.ask(counter, "a", Add(1), timeout_s=60) == 2
            await new.stop()

    run(scenario())


def test_given_a_group_that_stands_by_when_trimmed_then_it_holds_nothing_back(system: System) -> None:
    async def scenario() -> None:
        async with system.client() as client, system.pod(counter, group="v1", trim_lag_s=0.0) as pod:
            new = Pod(system.settings(group="v2"), [counter])
            await new.start()
            await until(lambda: _ready(client, "v2"))
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(20)])

            async def trimmed() -> bool:
                await pod.housekeeping.move_anchors()
                await asyncio.sleep(0.05)
                return await pod.housekeeping.trim() > 20 - 2

            await until(trimmed)
            assert (await client.service("ready"))["partitions"] == system.partitions
            await new.stop()

    run(scenario())


def test_given_a_pod_that_serves_only_what_is_new_when_its_group_stands_by_then_it_stands_by_too(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.client() as client, system.pod(counter, group="v1"):
            new = Pod(system.settings(group="v2"), [counter, double])
            await new.start()
            other = Pod(system.settings(group="v2"), [double])
            await other.start()
            await until(lambda: _ready(client, "v2"))
            assert await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(20)]) == [1] * 20
            assert live(system) == [("v1", system.partitions)]
            await other.stop()
            await new.stop()

    run(scenario())
