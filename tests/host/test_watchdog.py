"""The watchdog ends a process whose event loop stands still."""

from __future__ import annotations

import threading

from runtime.host.watchdog import Watchdog
from tests.support.system import System, run, until


def test_given_a_loop_that_stands_still_when_the_limit_passes_then_the_watchdog_ends_the_process() -> None:
    ended = threading.Event()
    watchdog = Watchdog(0.3, ended.set)
    watchdog.start()
    assert ended.wait(10)


def test_given_a_loop_that_makes_progress_when_time_passes_then_the_watchdog_lets_it_live() -> None:
    ended = threading.Event()
    watchdog = Watchdog(1.0, ended.set)
    watchdog.start()
    for _ in range(30):
        watchdog.alive()
        assert not ended.wait(0.05)
    watchdog.stop()


def test_given_a_pod_that_goes_on_when_the_limit_has_passed_twice_then_it_lives(system: System) -> None:
    pod = system.start_pod(lease_ttl_s=1.0, heartbeat_s=0.3)

    passed = "SELECT 1 FROM pods WHERE clock_timestamp() > started_at + interval '4.5 seconds'"

    async def scenario() -> None:
        await until(lambda: system.sql(passed))

    run(scenario())
    assert pod.process.poll() is None
