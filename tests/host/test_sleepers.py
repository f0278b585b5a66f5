"""What sleeps for long is in the log alone until its time is near; then it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.host import sleepers
from runtime.kind import Kind
from tests.host.test_suspended import SOON_S, suspended
from tests.support.system import System, run, until
from tests.support.waiters import sleeper, waiter

SLEEPS_S = (2.5, 5.0, 10.0, 20.0)
"""A machine that suspends a run too late is given more time."""


@pytest.mark.parametrize(("kind", "method"), [(sleeper, "run"), (waiter, "nap")], ids=["beside its key", "on its key"])
def test_given_a_run_that_sleeps_beyond_what_is_near_then_it_has_no_alarm_and_goes_on_when_its_time_has_come(
    system: System, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: Kind, method: str
) -> None:
    monkeypatch.setattr(sleepers, "NEAR_S", 0.4)
    monkeypatch.setattr(sleepers, "AHEAD_S", 0.2)
    alarms: list[int] = []

    async def scenario() -> None:
        async with system.pod(sleeper, waiter, suspend_after_s=SOON_S) as pod, system.client() as client:
            later = pod.alarms._later

            def noted(delay_s: float) -> None:
                alarms.append(len(pod.alarms))
                later(delay_s)

            monkeypatch.setattr(pod.alarms, "_later", noted)
            for seconds in SLEEPS_S:
                args = {"path": str(tmp_path / "notes"), "seconds": seconds}
                sleeping = await client.submit(kind, f"sleeps {seconds}", method, args)
                await sleeping.result(timeout_s=60.0)
                if alarms:
                    break
            assert len(pod.alarms) == 0

    run(scenario())
    assert alarms
    assert set(alarms) == {0}, "the log has it"


def test_given_a_run_that_sleeps_for_long_when_its_lane_gets_a_new_owner_then_that_does_not_load_it(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.client() as client:
            async with system.pod(waiter, suspend_after_s=SOON_S):
                sleeping = await suspended(system, client, "nap", {"path": "/dev/null", "seconds": 3600})
            async with system.pod(waiter, suspend_after_s=SOON_S) as pod:
                # Its turn comes behind what the pod gave itself to do when it took the lanes.
                await client.ask(waiter, "another", "put", {"value": 1})
                assert [one.address.key for _, one in pod.activations] == ["another"]
                assert len(pod.alarms) == 0
                await sleeping.cancel()
                await until(lambda: system.sql("SELECT count(*) FROM pending") == [(0,)])

    run(scenario())
