"""The watchdog ends a process whose event loop stands still."""

from __future__ import annotations

import threading

from runtime.host.watchdog import Watchdog


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
