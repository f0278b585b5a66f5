"""What a process of load is told, and how it begins and ends; for callers that await, and for callers in threads."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from tests.bench.tally import Call, Load, Tally, begin, cpu_s, drive, tell


class Job(Load):
    """A Load for one process of several. `number` is its place among them, from 0."""

    number: int
    setting: dict[str, int | str]


def told() -> Job:
    """The job this process was started with."""
    return msgspec.json.decode(sys.argv[1], type=Job)


async def run(job: Job, calls: Sequence[Call]) -> None:
    """One caller for each of `calls`, until the measurement is over; tells the tally."""
    tell(await drive(job, list(calls)))


SyncCall = Callable[[str], bool]
"""As `Call`, for a caller that blocks its thread."""


def run_in_threads(job: Job, call: SyncCall) -> None:
    """`job.in_flight` callers, each with a thread and keys of its own; tells the tally."""
    begin(job)
    end = job.begin_at + job.seconds
    tallies = [Tally(0, 0, [], 0.0) for _ in range(job.in_flight)]

    def one(number: int) -> None:
        keys, tally = job.keys[number :: job.in_flight] or job.keys, tallies[number]
        while time.time() < end:
            asked = time.perf_counter()
            tally.failed += not call(keys[tally.answered % len(keys)])
            waited = time.perf_counter() - asked
            tally.answered += 1
            if job.begin_at <= time.time() < end:
                tally.waits.append(waited)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(job.in_flight)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, job.begin_at - time.time()))
    early = cpu_s()
    time.sleep(max(0.0, end - time.time()))
    used = cpu_s() - early
    for thread in threads:
        thread.join()
    waits = [wait for tally in tallies for wait in tally.waits]
    tell(Tally(sum(t.answered for t in tallies), sum(t.failed for t in tallies), waits, used))
