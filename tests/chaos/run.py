"""One run of chaos: servers, pods, load, faults, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from tests.chaos import record, report
from tests.chaos.allowances import allowed
from tests.chaos.check_flows import strays
from tests.chaos.check_steps import read_outside
from tests.chaos.closing import last_looks, probe
from tests.chaos.deploy import Deploy
from tests.chaos.evidence import Evidence, Finding, Verdict
from tests.chaos.faults import Fault, Faults
from tests.chaos.log import left, owners, read_log
from tests.chaos.record import LoadPlan, Record
from tests.chaos.settings import ChaosSettings
from tests.chaos.untaken import untaken
from tests.chaos.verify import verify
from tests.chaos.watch import Watch, read_facts
from tests.chaos.world import KINDS, World, first_answer
from tests.support.system import ROOT, PodProcess, System

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


async def run(
    settings: ChaosSettings, data_dir: Path, say: Say = print, modules: Sequence[str] = KINDS
) -> Outcome:
    """Runs chaos with its servers and logs under `data_dir`, which must be empty.

    `modules` are what pods serve, see kinds.py; with a module of planted/ before them they have its bug.
    """
    world = await asyncio.to_thread(World, settings, data_dir, modules)
    try:
        return await _run(world, say)
    finally:
        await asyncio.to_thread(world.close)


async def _run(world: World, say: Say) -> Outcome:
    settings = world.settings
    await asyncio.gather(
        *[world.start_pod() for _ in range(settings.pods)], *[world.start_gateway() for _ in range(settings.gateways)]
    )
    await first_answer(world)
    say(f"seed {settings.seed}: {settings.pods} pods own {settings.partitions} lanes; {settings.seconds:g} s of load")
    stored: dict[str, dict[str, int]] = {}
    watches = [Watch(world.system.nats_url, stream, stored) for stream in world.stage.streams]
    watching = asyncio.gather(*[watch.run() for watch in watches])
    record_path = world.data_dir / "record"
    load = start_load(world, record_path)
    begun = time.time()
    faults, deploy = Faults(world), Deploy(world)
    for name, why in faults.left_out:
        say(f"left out: {name}: {why}")
    deploying = asyncio.ensure_future(deploy.run())
    await asyncio.sleep(settings.warm_up_s)
    await faults.run(settings.seconds - settings.warm_up_s - settings.calm_s)
    await deploying
    code = await asyncio.to_thread(load.wait)
    trouble = [] if code == 0 else [f"the load ended with exit code {code}"]
    unsettled = await _settle(world, watches)
    await _end(watching)
    seen = record.read(record_path) if record_path.exists() else Record([], [])
    evidence = await _evidence(world, seen, stored, faults.history)
    unsettled += await probe(world.system, settings.patience_s)
    world.running()
    current = [pod for pod in world.pods if pod.name.startswith(f"{world.group}-")]
    for pod in [pod for pod in world.pods if pod not in current[:1]]:
        await _terminate(world, pod)
    evidence.looks_of_one = await last_looks(world.system, evidence.last_looks, settings.patience_s)
    for pod in list(world.pods):
        await _terminate(world, pod)
    verdict = verify(evidence)
    known = {key for key, _ in verdict.stuck} | strays(evidence)
    verdict.stuck += [finding for finding in unsettled if finding[0] not in known]
    trouble += deploy.trouble + world.died
    for line in report.summary(evidence, verdict, settings, faults.history, watches, deploy.told):
        say(line)
    for text in trouble:
        say(f"TROUBLE: {text}")
    if not verdict.good or trouble:
        for line in report.failure(verdict, settings, faults.history, begun, world.system):
            say(line)
    return Outcome(verdict, faults.history, trouble, report.last_line(verdict, faults.history))


async def _evidence(
    world: World, seen: Record, stored: Mapping[str, Mapping[str, int]], history: Sequence[Fault]
) -> Evidence:
    """Everything that can be known once nothing is left to do."""
    actors = {entry.actor for entry in seen.entries} | {entry.target for entry in seen.entries if entry.target}
    owned = await asyncio.to_thread(owners, world.system)
    counters = {actor for actor in actors if actor.split("/")[1] == "counter"}
    looks = await last_looks(world.system, counters, world.settings.patience_s)
    owned &= await asyncio.to_thread(owners, world.system)
    facts = await read_facts(world.system.nats_url)
    log = await asyncio.to_thread(read_log, world.system, actors)
    outside = await asyncio.to_thread(read_outside, world.outside)
    return Evidence(log, seen, stored, looks, facts, outside, world.pids_frozen, allowed(history), owned)


async def _terminate(world: World, pod: PodProcess) -> None:
    if (exit_code := await world.terminate_pod(pod)) != 0:
        world.died.append(f"pod {pod.name} ended with exit code {exit_code} after SIGTERM, and not with 0")


def start_load(world: World, record_path: Path) -> subprocess.Popen[bytes]:
    """The process that sends the world's load, and writes what it was answered to `record_path`."""
    settings = world.settings
    plan = LoadPlan(
        world.stage.environment("client", "load")["RUNTIME_NATS_URL"],
        [gateway.url for gateway in world.gateways],
        world.api_keys,
        settings.seconds,
        settings.settle_s,
        settings.seed,
        settings.keys,
        settings.rate,
        settings.sessions,
        str(record_path),
        settings.all_programs,
        settings.looks,
    )
    command = [sys.executable, "-m", "tests.chaos.load", msgspec.json.encode(plan).decode()]
    return subprocess.Popen(command, cwd=ROOT, env=world.system.environment())


async def _settle(world: World, watches: Sequence[Watch]) -> list[Finding]:
    """Waits until nothing is left to do, or the time for it is over; gives what is left then."""
    end = time.monotonic() + world.settings.settle_s
    while (undone := await _undone(world.system)) and time.monotonic() < end:
        await asyncio.sleep(0.2)
    before = [-1]
    while before != [watch.last for watch in watches]:  # they read on for as long as there is something
        before = [watch.last for watch in watches]
        await asyncio.sleep(1.5)
    return undone


async def _undone(system: System) -> list[Finding]:
    """What is not taken from the streams, and then what is not done of that."""
    return await untaken(system) or await asyncio.to_thread(left, system)


async def _end(task: asyncio.Future[list[None]]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
