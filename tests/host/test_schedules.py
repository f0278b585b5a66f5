"""Schedules on real servers: each due time counts once, whatever dies, and their runs are told of."""

from __future__ import annotations

import asyncio
from functools import partial

from runtime.client import Client
from schemas.schedules import MODULE, Spec
from tests.support.patience import PATIENCE_S
from tests.support.system import KINDS, System, run, until

SCHEDULES = 200
EVERY_S = 5.0


def fired(system: System) -> list[float]:
    """The due times that were started, in the order of the log."""
    rows = system.sql("SELECT payload->>'due' FROM events WHERE type = 'Fired' ORDER BY lane, position")
    return [float(due) for (due,) in rows]


async def added(client: Client) -> int:
    value: int = await client.query("counter", "total", "value", type=int, timeout_s=60.0)
    return value


def test_given_a_schedule_whose_pods_are_killed_again_and_again_then_each_due_time_counts_once(system: System) -> None:
    async def scenario() -> None:
        pod = system.start_pod(KINDS, MODULE)
        async with system.client() as client:
            spec = Spec("counter", "add", "total", {"amount": 1}, every_s=1.0, overlap="allow")
            await client.schedules.create("often", spec, timeout_s=60.0)
            for deaths in range(1, 4):
                wanted = len(fired(system)) + 2
                await until(partial(_has_fired, system, wanted))
                pod.kill()
                if deaths < 3:
                    pod = system.start_pod(KINDS, MODULE)
            system.start_pod(KINDS, MODULE)
            await client.schedules.delete("often", timeout_s=60.0)
            dues = fired(system)
            assert dues == [dues[0] + n for n in range(len(dues))], "none is left out, and none comes twice"
            await until(lambda: _is(client, len(dues)))

    run(scenario())


def test_given_hundreds_of_schedules_over_three_pods_when_one_is_killed_then_each_fires_once_for_each_due_time(
    system: System,
) -> None:
    def times() -> dict[str, list[float]]:
        """The due times that each schedule has fired for, in order."""
        rows = system.sql("SELECT key, payload->>'due' FROM log WHERE type = 'Fired' ORDER BY key, seq")
        found: dict[str, list[float]] = {f"s{n}": [] for n in range(SCHEDULES)}
        for key, due in rows:
            found[key].append(float(due))
        return found

    def all_fired(at_least: int) -> bool:
        return min(len(dues) for dues in times().values()) >= at_least

    def counted() -> dict[str, tuple[int, int]]:
        """How many commands have counted for each of them, and how many different ones."""
        rows = system.sql("SELECT key, count(*), count(DISTINCT command_id) FROM log WHERE type = 'Added' GROUP BY key")
        return {key: (commands, ids) for key, commands, ids in rows}

    async def scenario() -> None:
        pods = [system.start_pod(KINDS, MODULE) for _ in range(3)]
        owners = "SELECT count(DISTINCT owner) FROM partitions"
        await until(lambda: system.sql(owners) == [(len(pods),)])
        async with system.client() as client:
            spec = Spec("counter", "add", "{schedule}", {"amount": 1}, every_s=EVERY_S, overlap="allow")
            create = partial(client.schedules.create, spec=spec, timeout_s=PATIENCE_S)
            await asyncio.gather(*[create(f"s{n}") for n in range(SCHEDULES)])
            await until(lambda: all_fired(1))
            pods[0].kill()
            await until(lambda: all_fired(2))
            found = times()
            for dues in found.values():
                since = [round(due - dues[0], 3) for due in dues]
                assert since == [EVERY_S * n for n in range(len(dues))], "none is left out, and none comes twice"
            await until(lambda: all(counted().get(name, (0, 0))[0] >= len(dues) for name, dues in found.items()))
            counts, since_then = counted(), times()
            assert all(commands == ids <= len(since_then[name]) for name, (commands, ids) in counts.items())

    run(scenario())


def _has_fired(system: System, times: int) -> bool:
    return len(fired(system)) >= times


async def _is(client: Client, value: int) -> bool:
    return await added(client) == value


def test_given_a_run_that_goes_on_when_it_ends_on_another_pod_then_its_schedule_hears_of_it(system: System) -> None:
    async def scenario() -> None:
        pod = system.start_pod(KINDS, MODULE)
        async with system.client() as client:
            await client.schedules.create("s", Spec("clerk", "serve", "{run}", cron="@yearly"), timeout_s=60.0)
            started = await client.schedules.trigger("s", "skip", timeout_s=60.0)
            assert started is not None
            assert await client.schedules.trigger("s", "skip") is None
            await until(lambda: system.sql("SELECT 1 FROM pending WHERE command_id = %s", started))
            pod.kill()
            system.start_pod(KINDS, MODULE)
            described = await client.schedules.describe("s", timeout_s=60.0)
            assert [(one.run, one.key) for one in described.running] == [(started, started)]
            assert described.skipped == 1
            assert await client.schedules.trigger("s", "cancel", timeout_s=60.0) is None  # it waits for the end

            async def replaced() -> bool:
                found = await client.schedules.describe("s", timeout_s=60.0)
                return [one.outcome for one in found.recent] == ["cancelled", ""] and len(found.running) == 1

            await until(replaced)
            page = await client.schedules.list()
            assert ([one.name for one in page.schedules], page.after) == (["s"], None)
            await client.schedules.delete("s")
            assert (await client.schedules.list()).schedules == []

    run(scenario())
