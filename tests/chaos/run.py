"""One run of chaos: servers, pods, load, faults, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from runtime.client import Client
from runtime.errors import TroupeError
from tests.chaos import record, report
from tests.chaos.faults import Fault, Faults
from tests.chaos.log import Log, left, read_log
from tests.chaos.record import LoadPlan, Record
from tests.chaos.settings import ChaosSettings
from tests.chaos.verify import Finding, Verdict, verify
from tests.chaos.watch import Watch
from tests.chaos.world import World, first_answer
from tests.support.system import ROOT

Say = Callable[[str], None]


@dataclasses.dataclass(slots=True)
class Outcome:
    """What came of a run. `trouble` is what is wrong beside the verdict: a pod that ended by itself, for one."""

    verdict: Verdict
    history: list[Fault]
    trouble: list[str]
    line: str

    @property
    def good(self) -> bool:
        """Whether everything held."""
        return self.verdict.good and not self.trouble


async def run(settings: ChaosSettings, data_dir: Path, say: Say = print) -> Outcome:
    """Runs chaos with its servers and logs under `data_dir`, which must be empty."""
    world = await asyncio.to_thread(World, settings, data_dir)
    try:
        return await _run(world, say)
    finally:
        await asyncio.to_thread(world.close)


async def _run(world: World, say: Say) -> Outcome:
    settings = world.settings
    await asyncio.gather(*[world.start_pod() for _ in range(settings.pods)])
    await first_answer(world)
    say(f"seed {settings.seed}: {settings.pods} pods own {settings.partitions} lanes; {settings.seconds:g} s of load")
    watch = Watch(world.system.nats_url)
    watching = asyncio.ensure_future(watch.run())
    record_path = world.data_dir / "record"
    load = _start_load(world, record_path)
    begun = time.time()
    faults = Faults(world)
    for name, why in faults.left_out:
        say(f"left out: {name}: {why}")
    await asyncio.sleep(settings.warm_up_s)
    await faults.run(settings.seconds - settings.warm_up_s - settings.calm_s)
    code = await asyncio.to_thread(load.wait)
    trouble = [] if code == 0 else [f"the load ended with exit code {code}"]
    unsettled = await _settle(world, watch)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    seen = record.read(record_path) if record_path.exists() else Record([], [])
    values = await _values(world, {entry.key for entry in seen.entries})
    world.running()
    for pod in list(world.pods):
        if (exit_code := await world.terminate_pod(pod)) != 0:
            world.died.append(f"pod {pod.name} ended with exit code {exit_code} after SIGTERM, and not with 0")
    log = await asyncio.to_thread(read_log, world.system)
    verdict = verify(log, seen, watch.stored, values)
    verdict.stuck += [finding for finding in unsettled if finding not in verdict.stuck]
    trouble += world.died
    _report(world, say, seen, log, watch, faults.history, verdict, trouble, begun)
    return Outcome(verdict, faults.history, trouble, report.last_line(verdict, faults.history))


def _start_load(world: World, record_path: Path) -> subprocess.Popen[bytes]:
    settings = world.settings
    plan = LoadPlan(
        world.stage.environment("client", "load")["RUNTIME_NATS_URL"],
        settings.seconds,
        settings.settle_s,
        settings.seed,
        settings.keys,
        settings.rate,
        str(record_path),
    )
    command = [sys.executable, "-m", "tests.chaos.load", msgspec.json.encode(plan).decode()]
    return subprocess.Popen(command, cwd=ROOT, env=world.system.environment())


async def _settle(world: World, watch: Watch) -> list[Finding]:
    """Waits until nothing is left to do, or the time for it is over; gives what is left then."""
    end = time.monotonic() + world.settings.settle_s
    while (undone := await asyncio.to_thread(left, world.system)) and time.monotonic() < end:
        await asyncio.sleep(0.2)
    before = -1
    while before != watch.last:  # the watch reads on for as long as there is something
        before = watch.last
        await asyncio.sleep(1.5)
    return undone


async def _values(world: World, keys: set[str]) -> dict[str, int]:
    """What the actors say their value is."""
    values: dict[str, int] = {}
    async with await Client.connect(world.system.nats_url) as client:
        for key in sorted(keys):
            with contextlib.suppress(TroupeError):
                values[key] = await client.query("counter", key, "value", type=int, timeout_s=10)
    return values


def _report(
    world: World,
    say: Say,
    seen: Record,
    log: Log,
    watch: Watch,
    history: list[Fault],
    verdict: Verdict,
    trouble: list[str],
    begun: float,
) -> None:
    per_minute = verdict.acknowledged / world.settings.seconds * 60
    say(f"faults: {report.fault_counts(history)}")
    say(f"{log.size} events of {len(log.events)} actors; {per_minute:,.0f} acknowledged commands a minute")
    say(f"{watch.last} messages in the stream, {watch.missed} of them trimmed before they were looked at")
    say(report.waits(seen))
    for line in report.takeovers(history, log):
        say(line)
    for text in trouble:
        say(f"TROUBLE: {text}")
    if not verdict.good or trouble:
        for line in report.failure(verdict, world.settings, history, begun, world.system):
            say(line)
