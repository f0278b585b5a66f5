"""Two versions of one kind at once, as a rolling update has them: each pod folds for itself, from the same log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from msgspec import Struct

from runtime.client import Client
from runtime.entity import Entity, entity
from runtime.host.pod import Pod
from runtime.turn import Turn
from tests.support.system import System, run, until

KEYS = [f"k{number}" for number in range(24)]


class Scored(Struct, frozen=True):
    points: int


def old_fold(state: int, event: Scored) -> int:
    return state + event.points


def new_fold(state: int, event: Scored) -> int:
    return state + 10 * event.points


def version(fold: Callable[[int, Scored], int]) -> Entity[int]:
    """The kind `score` with one of the folds."""
    score = entity("score", initial=0, apply=fold, snapshot_every=5)

    @score.command(name="add")
    def add(state: int, points: int, ctx: Turn) -> Scored:
        return Scored(points)

    @score.query
    def total(state: int) -> int:
        return state

    return score


async def add_to_all(client: Client, times: int) -> None:
    for _ in range(times):
        await asyncio.gather(*[client.ask("score", key, "add", {"points": 1}) for key in KEYS])


async def totals(client: Client) -> dict[str, int]:
    found = await asyncio.gather(*[client.query("score", key, "total", type=int) for key in KEYS])
    return dict(zip(KEYS, found, strict=True))


async def owns(pod: Pod, lanes: int) -> None:
    """Waits until the pod reads so many lanes."""
    await until(lambda: sum(lane.feed.reading for lane in pod.lanes.values()) == lanes == len(pod.lanes))


def snapshots(system: System) -> dict[str, str]:
    """key → the fold that made its snapshot."""
    return dict(system.sql("SELECT a.key, s.fold_version FROM snapshots s JOIN actors a USING (actor)"))


def spoil(system: System, fold_version: str) -> None:
    """Makes wrong whatever is taken from a snapshot of this fold."""
    system.sql("UPDATE snapshots SET state = '1000000' WHERE fold_version = %s", fold_version)


def test_given_two_folds_of_one_kind_when_lanes_move_then_no_snapshot_of_the_other_is_used(system: System) -> None:
    old, new, old_again = version(old_fold), version(new_fold), version(old_fold)
    assert old.fold_version == old_again.fold_version != new.fold_version
    all_lanes, half = system.partitions, system.partitions // 2

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(system.client())
            async with AsyncExitStack() as first:
                before = await first.enter_async_context(system.pod(old))
                await owns(before, all_lanes)
                await add_to_all(client, 7)
                assert await totals(client) == dict.fromkeys(KEYS, 7)
                await until(lambda: snapshots(system) == dict.fromkeys(KEYS, old.fold_version))
                spoil(system, old.fold_version)
                second = await stack.enter_async_context(AsyncExitStack())
                after = await second.enter_async_context(system.pod(new))
                await owns(before, half)
                await owns(after, half)
                await add_to_all(client, 7)
                moved = {key for key, lane in system.sql("SELECT key, lane FROM actors") if lane in after.lanes}
                assert 0 < len(moved) < len(KEYS), "both pods should have some of the keys"
                assert await totals(client) == {key: 140 if key in moved else 14 for key in KEYS}
                by_owner = {key: new.fold_version if key in moved else old.fold_version for key in KEYS}
                await until(lambda: snapshots(system) == by_owner)
                spoil(system, old.fold_version)
            await owns(after, all_lanes)  # the update is through
            assert await totals(client) == dict.fromkeys(KEYS, 140)
            await add_to_all(client, 5)
            await until(lambda: snapshots(system) == dict.fromkeys(KEYS, new.fold_version))
            spoil(system, new.fold_version)
            back = await stack.enter_async_context(system.pod(old_again))  # and is taken back
            await owns(back, half)
            await second.aclose()
            await owns(back, all_lanes)
            assert await totals(client) == dict.fromkeys(KEYS, 19)

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(19 * len(KEYS),)]
