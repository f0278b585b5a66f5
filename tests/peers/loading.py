"""Processes of load in a peer's own environment, and what they saw together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.callers import Callers
from tests.bench.processor import cpu_s
from tests.bench.stage import Miscounted
from tests.peers.programs.job import Job
from tests.peers.work import Outcome, Setting

WARM_UP_S = 2.0
"""The load runs for so long before the measurement begins, and all its processes are up before that."""


class Load:
    """What the processes of one measurement do.

    Args:
        python: the interpreter of the peer's environment.
        program: the module of `tests.peers.programs` that each process runs.
        target: where the work is done: a URL.
        setting: `in_flight` callers in all, over `processes` (1 if it is not there); the rest is the program's.
    """

    def __init__(
        self, python: Path, program: str, target: str, keys: Sequence[str], setting: Setting, seconds: float
    ) -> None:
        self.python = python
        self.program = program
        self.target = target
        self.keys = list(keys)
        self.setting = setting
        self.seconds = seconds

    @property
    def processes(self) -> int:
        return min(int(self.setting.get("processes", 1)), int(self.setting["in_flight"]))

    def jobs(self) -> list[Job]:
        """What each process is told."""
        count, in_flight = self.processes, int(self.setting["in_flight"])
        return [
            Job(self.target, self.keys[n::count] or self.keys, in_flight // count, 0.0, self.seconds, n, self.setting)
            for n in range(count)
        ]


def run(load: Load, watched: Mapping[str, int]) -> tuple[Outcome, int]:
    """Runs a load; gives what callers saw, and how many were answered, those of the warm-up too.

    `watched` are pids of servers by name, whose processor time is noted beside that of the callers.

    Raises Miscounted when one was answered with an error, RuntimeError when a process failed.
    """
    processes: list[Callers] = []
    try:
        for job in load.jobs():  # one after the other: the first makes the tables
            processes.append(Callers(f"tests.peers.programs.{load.program}", job, python=load.python))
            processes[-1].await_ready()
        begin_at = time.time() + WARM_UP_S
        for process in processes:
            process.begin(begin_at)
        used = _processor_time(load, begin_at, watched)
        tallies = [process.finish() for process in processes]
    finally:
        for process in processes:
            process.close()
    if failed := sum(tally.failed for tally in tallies):
        raise Miscounted(f"{failed} commands were answered with an error")
    answered = sum(tally.answered for tally in tallies)
    used["callers"] = sum(tally.cpu_s for tally in tallies)
    return _outcome([wait for tally in tallies for wait in tally.waits], load.seconds, answered, used), answered


def check(answered: int, counted: int, store: str) -> None:
    """Raises Miscounted unless the peer's store counted what callers were answered."""
    if counted != answered:
        raise Miscounted(f"callers were answered {answered} times, and {store} counted {counted}")


def _outcome(waits: list[float], seconds: float, counted: int, used: Mapping[str, float]) -> Outcome:
    """What callers saw in the measured time; waits, and processor time used, in seconds."""
    if not waits:
        raise Miscounted("nothing was answered during the measurement")
    waits.sort()
    count, p99 = len(waits), waits[int(len(waits) * 0.99)]
    cpu_us = {name: value / count * 1e6 for name, value in used.items()}
    return Outcome(count / seconds, statistics.median(waits) * 1000, p99 * 1000, counted, cpu_us)


def _processor_time(load: Load, begin_at: float, watched: Mapping[str, int]) -> dict[str, float]:
    """Seconds that servers used during the measurement, which is over when this returns."""
    time.sleep(max(0.0, begin_at - time.time()))
    early = {name: cpu_s(pid) for name, pid in watched.items()}
    time.sleep(max(0.0, begin_at + load.seconds - time.time()))
    return {name: cpu_s(pid) - early[name] for name, pid in watched.items()}
