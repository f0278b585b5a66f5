"""What goes on later: one alarm a place, none for a lane that is lost, and nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.host.alarms import Alarms, Late
from runtime.host.items import Next, Rerun
from runtime.host.lane import Lane
from runtime.host.ports import PendingRow
from tests.host.test_regressions import lane_of
from tests.host.test_steps import lines
from tests.support.system import System, run, until
from tests.support.waiters import sleeper, waiter

LONG_S = 50.0
FAR_S = 3600.0


def waiting(id: str, method: str = "run") -> PendingRow:
    return PendingRow(1, "actor", id, "default", "kind", "k", method, 0, "waiting", False, 0, None, "{}", b"body")


def test_given_alarms_when_the_logs_clock_moves_then_they_come_as_much_sooner_in_their_order() -> None:
    async def scenario() -> None:
        put: list[Late] = []
        alarms, lane = Alarms(put.append, lambda _: None), lane_of(1)
        alarms.set(LONG_S - 1.0, Rerun(lane, waiting("second")))
        alarms.set(LONG_S - 2.0, Rerun(lane, waiting("first")))
        alarms.set(LONG_S + FAR_S, Rerun(lane, waiting("later", "$update")))
        alarms.sooner(LONG_S)
        await until(lambda: len(put) == 2)
        assert [item.row.command_id for item in put if isinstance(item, Rerun)] == ["first", "second"]
        assert len(alarms) == 1
        alarms.sooner(FAR_S)
        await until(lambda: len(put) == 3)

    run(scenario())


def test_given_many_alarms_of_one_place_then_the_earliest_is_kept() -> None:
    async def scenario() -> None:
        put: list[Late] = []
        far: list[float] = []
        alarms, lane = Alarms(put.append, far.append), lane_of(1)
        for delay_s in (LONG_S, 0.02, LONG_S):
            alarms.set(delay_s, Next(lane, "actor", "kind"))
            alarms.set(delay_s, Rerun(lane, waiting("one")))
        alarms.set(LONG_S, Rerun(lane, waiting("two")))
        alarms.set(LONG_S, Rerun(lane, waiting("three", "$update")))
        assert len(alarms) == 4
        alarms.set(FAR_S, Next(lane, "another", "kind"))
        alarms.set(FAR_S, Rerun(lane, waiting("four")))
        assert (len(alarms), far) == (4, [FAR_S, FAR_S]), "what the log has is read from it when its time is near"
        assert lane.resting == {"actor", "another"}
        alarms.set(FAR_S, Rerun(lane, waiting("five", "$update")))
        assert len(alarms) == 5, "what was said cannot be read again without its body"
        await until(lambda: len(put) == 2)
        assert len(alarms) == 3
        assert isinstance(put[0], Next)
        assert isinstance(put[1], Rerun)
        assert put[1].row.body == b"", "it is looked up again in its turn"
        alarms.set(0.0, Rerun(lane, waiting("two")))
        assert len(put) == 3
        lane.lose()
        alarms.forget(lane)
        alarms.set(LONG_S, Rerun(lane, waiting("two")))
        assert len(alarms) == 0

    run(scenario())


@pytest.mark.parametrize("times", [1, 3])
def test_given_a_run_that_has_ended_or_runs_when_it_is_to_run_again_then_it_does_not(
    system: System, tmp_path: Path, times: int
) -> None:
    path = tmp_path / "notes"

    async def scenario() -> None:
        async with system.pod(sleeper, waiter) as pod, system.client() as client:

            def again(lane: Lane) -> None:
                for _ in range(times):
                    pod.committer.put(Rerun(lane, row))

            sleeping = await client.submit(sleeper, "s", "run", {"path": str(path), "seconds": 2.0}, id="sleeps")
            await until(lambda: "before" in lines(path))
            found = system.sql(
                "SELECT lane, replace(actor::text, '-', ''), command_id, tenant, kind, key, method, digest, state, "
                "holds, attempts, NULL, headers, body FROM pending"
            )
            row = PendingRow(*found[0])
            lane = pod.lanes[row.lane]
            again(lane)
            assert await sleeping.result(timeout_s=30) == "after"
            again(lane)
            await client.ask(waiter, "w", "put", {"value": 1})

    run(scenario())
    assert lines(path) == ["attempt", "before", "after"]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]
