"""One load against a scene: processes that call until the time is over, and what came of it."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence

from tests.bench.callers import Callers
from tests.bench.stage import WARM_UP_S, Miscounted, Scene
from tests.bench.tally import Load, RunLoad, Tally

__all__ = ["WARM_UP_S", "Rate", "measure"]

LONGER = 6
"""Times that a measurement in which nothing was answered is taken again, for twice as long each time."""


@dataclasses.dataclass(slots=True)
class Rate:
    """What a load measured. Times of callers in milliseconds; `cpu_us` is processor time a command, by who used it."""

    in_flight: int
    commands: int
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_us: dict[str, float]


def measure(
    scene: Scene,
    load: str,
    target: str,
    keys: Sequence[str],
    *,
    processes: int,
    in_flight: int,
    seconds: float,
    warm_up_s: float | None = None,
    steps: int | None = None,
) -> Rate:
    """Runs a load and checks it against the log.

    Args:
        load: the module of the load's processes.
        target: the URL they call.
        in_flight: commands in flight in all.
        warm_up_s: how long the load runs before the measurement begins; as the scene says by default.
        steps: of runs, how many each takes: so many events has it in the log, and two for its beginning and its end. A
            command has one.

    Raises Miscounted.
    """
    warm_up_s = scene.warm_up_s if warm_up_s is None else warm_up_s
    for doublings in range(LONGER + 1):
        longer = seconds * 2**doublings
        loads = []
        for number in range(processes):
            mine = list(keys[number::processes]) or list(keys)
            plain = (target, mine, in_flight // processes, 0.0, longer)
            loads.append(Load(*plain) if steps is None else RunLoad(*plain, steps))
        tallies, used = _run(scene, load, loads, warm_up_s, 1 if steps is None else steps + 2)
        if waits := [wait for tally in tallies for wait in tally.waits]:
            return rate_of(in_flight, waits, longer, used)
    raise Miscounted(f"nothing was answered within {longer:g} s")


def _run(
    scene: Scene, module: str, loads: Sequence[Load], warm_up_s: float, events_each: int
) -> tuple[list[Tally], Mapping[str, float]]:
    """What the processes saw, and seconds of processor time by who used them."""
    before = scene.counted()
    running: list[Callers] = []
    try:
        running += [Callers(module, load, scene.system.environment()) for load in loads]
        for process in running:
            process.await_ready()
        begin_at = time.time() + warm_up_s
        for process in running:
            process.begin(begin_at)
        time.sleep(max(0.0, begin_at - time.time()))
        early = scene.cpu_s()
        time.sleep(max(0.0, begin_at + loads[0].seconds - time.time()))
        late = scene.cpu_s()
        tallies = [process.finish() for process in running]
    finally:
        for process in running:
            process.close()
    if failed := sum(tally.failed for tally in tallies):
        raise Miscounted(f"{failed} commands were answered with an error")
    scene.check_count(before, sum(tally.answered for tally in tallies), events_each)
    used = {name: late[name] - early[name] for name in late} | {"clients": sum(tally.cpu_s for tally in tallies)}
    return tallies, used


def rate_of(in_flight: int, waits: list[float], seconds: float, used: Mapping[str, float]) -> Rate:
    waits.sort()
    count = len(waits)
    return Rate(
        in_flight,
        count,
        count / seconds,
        statistics.median(waits) * 1000,
        waits[int(count * 0.99)] * 1000,
        waits[-1] * 1000,
        {name: value / count * 1e6 for name, value in used.items()},
    )
