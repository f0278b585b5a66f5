"""One load against a scene: processes that call until the time is over, and what came of it."""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

import msgspec

from tests.bench.stage import Miscounted, Scene
from tests.bench.tally import Load, RunLoad, Tally
from tests.support.system import ROOT

WARM_UP_S = 2.0
"""The load runs for so long before the measurement begins; the processes start in this time too."""


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
    warm_up_s: float = WARM_UP_S,
    steps: int | None = None,
) -> Rate:
    """Runs a load and checks it against the log.

    Args:
        load: the module of the load's processes.
        target: the URL they call.
        in_flight: commands in flight in all.
        warm_up_s: how long the load runs before the measurement begins; its processes start in this time too.
        steps: of runs, how many each takes: so many events has it in the log. A command has one.

    Raises Miscounted.
    """
    events_each = 1 if steps is None else steps
    before = scene.counted(events_each)
    begin_at = time.time() + warm_up_s
    running = []
    for number in range(processes):
        mine = list(keys[number::processes]) or list(keys)
        plain = (target, mine, in_flight // processes, begin_at, seconds)
        running.append(_start(load, Load(*plain) if steps is None else RunLoad(*plain, steps), scene))
    time.sleep(max(0.0, begin_at - time.time()))
    early = scene.cpu_s()
    time.sleep(max(0.0, begin_at + seconds - time.time()))
    late = scene.cpu_s()
    tallies = [_finish(process) for process in running]
    if failed := sum(tally.failed for tally in tallies):
        raise Miscounted(f"{failed} commands were answered with an error")
    scene.check_count(before, sum(tally.answered for tally in tallies), events_each)
    used = {name: late[name] - early[name] for name in late} | {"clients": sum(tally.cpu_s for tally in tallies)}
    return _rate_of(in_flight, [wait for tally in tallies for wait in tally.waits], seconds, used)


def _start(module: str, load: Load, scene: Scene) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", module, msgspec.json.encode(load).decode()]
    return subprocess.Popen(command, cwd=ROOT, env=scene.system.environment(), stdout=subprocess.PIPE)


def _finish(process: subprocess.Popen[bytes]) -> Tally:
    output, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"a process of the load ended with exit code {process.returncode}")
    return msgspec.msgpack.decode(output, type=Tally)


def _rate_of(in_flight: int, waits: list[float], seconds: float, used: dict[str, float]) -> Rate:
    if not waits:
        raise Miscounted("nothing was answered during the measurement")
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
