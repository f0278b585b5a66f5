"""One soak: load and faults, visitors of the gateway, and a sample every so often."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.chaos import record
from tests.chaos.faults import Faults
from tests.chaos.log import left
from tests.chaos.run import start_load
from tests.chaos.settings import ChaosSettings
from tests.chaos.world import first_answer
from tests.gateway.process import GatewayProcess
from tests.soak.elder import ElderWorld
from tests.soak.sample import series_of, streams, take
from tests.soak.verdict import Judged, Series, judge_all
from tests.soak.visitors import visit
from tests.support.warm import never_forked

FAULTS = ("kill", "stop", "term", "nats", "postgres")
METRICS_PORT = 19_000
INBOX_WINDOW_S = 60.0
"""Far less than the default day, so that an hour shows that answers go. Those behind the stream's oldest message, or
younger than the clocks may differ, stay: some seven minutes of them."""

RUNS_WINDOW_S = 120.0
"""The same for the list of runs, which go after a week by default."""


@dataclasses.dataclass(frozen=True)
class SoakSettings:
    """One soak. `rate` is commands a second, `every_s` seconds between two samples."""

    minutes: float = 60.0
    seed: int = 1
    rate: float = 200.0
    keys: int = 400
    pods: int = 3
    faults: tuple[str, ...] = FAULTS
    fault_every_s: float = 20.0
    every_s: float = 60.0


@dataclasses.dataclass(slots=True)
class Outcome:
    """What came of it. `trouble` is what is wrong beside the series."""

    settings: SoakSettings
    series: dict[str, Series]
    judged: list[Judged]
    faults: Mapping[str, int]
    acknowledged: int
    visits: int
    began: float
    trouble: list[str]

    @property
    def unbounded(self) -> list[Judged]:
        """The series that grew more than they may."""
        return [one for one in self.judged if one.bounded is False]

    @property
    def untold(self) -> list[Judged]:
        """The series with too few samples for a verdict."""
        return [one for one in self.judged if one.bounded is None]

    @property
    def good(self) -> bool:
        """Whether every series has a verdict, and it is good."""
        return not self.unbounded and not self.untold and not self.trouble

    @property
    def line(self) -> str:
        """The line that says it all."""
        return (
            f"minutes {self.settings.minutes:g}, acknowledged {self.acknowledged}, faults {sum(self.faults.values())}, "
            f"series {len(self.judged)}, unbounded {len(self.unbounded)}, untold {len(self.untold)}"
        )


async def run(settings: SoakSettings, data_dir: Path, say: Callable[[str], None] = print) -> Outcome:
    """Soaks with servers and logs under `data_dir`, which must be empty."""
    os.environ["RUNTIME_INBOX_WINDOW_S"] = f"{INBOX_WINDOW_S:g}"
    os.environ["RUNTIME_RUNS_WINDOW_S"] = f"{RUNS_WINDOW_S:g}"
    os.environ["RUNTIME_METRICS_PORT"] = f"{METRICS_PORT}"
    chaos = ChaosSettings(
        seconds=settings.minutes * 60,
        seed=settings.seed,
        faults=settings.faults,
        fault_every_s=settings.fault_every_s,
        pods=settings.pods,
        keys=settings.keys,
        rate=settings.rate,
    )
    world = await asyncio.to_thread(ElderWorld, chaos, data_dir)
    try:
        with never_forked():
            return await _run(world, settings, say)
    finally:
        await asyncio.to_thread(world.close)


async def _run(world: ElderWorld, settings: SoakSettings, say: Callable[[str], None]) -> Outcome:
    chaos = world.settings
    await asyncio.gather(*[world.start_pod() for _ in range(settings.pods)], world.start_gateway())
    elder = await world.start_pod()
    await first_answer(world)
    world.elder = elder
    path = world.data_dir / "record"
    began = time.time()
    environment = world.system.environment() | {"RUNTIME_LOG_LEVEL": "ERROR"}
    visits = [0]
    with GatewayProcess(environment) as gateway:
        load = start_load(world, path)
        faults = Faults(world)
        samples: list[tuple[float, dict[str, float]]] = []
        sampling = asyncio.ensure_future(_sample(world, samples, settings.every_s, say))
        visiting = asyncio.ensure_future(visit(gateway.url, visits))
        say(f"seed {settings.seed}: {settings.minutes:g} minutes at {settings.rate:g} commands a second")
        try:
            await asyncio.sleep(chaos.warm_up_s)
            await faults.run(chaos.seconds - chaos.warm_up_s - chaos.calm_s)
            code = await asyncio.to_thread(load.wait)
        finally:
            _end(load)
            for task in (sampling, visiting):
                task.cancel()
            await asyncio.gather(_ended(sampling), _ended(visiting))
        trouble = [] if code == 0 else [f"the load ended with exit code {code}"]
        trouble += await _last(world)
    entries = record.read(path).entries if code == 0 else []
    outcomes = Counter[str](entry.outcome for entry in entries if entry.method != record.TOO_LATE)
    trouble += [f"{outcomes[word]} commands are {word}" for word in ("stuck", "failed") if outcomes[word]]
    series: dict[str, Series] = {**series_of(samples)}
    kinds = Counter(fault.kind for fault in faults.history)
    acknowledged = outcomes["done"] + outcomes["rejected"] + outcomes["stored"]
    return Outcome(settings, series, judge_all(series), kinds, acknowledged, visits[0], began, trouble)


async def _sample(
    world: ElderWorld, samples: list[tuple[float, dict[str, float]]], every_s: float, say: Callable[[str], None]
) -> None:
    """Samples, for ever."""
    begun = time.monotonic()
    assert world.elder is not None
    while True:
        at = (time.monotonic() - begun) / 60
        found = await asyncio.to_thread(take, world.system, world.elder.pid, METRICS_PORT)
        found |= await streams(world.system.nats_url)
        samples.append((at, found))
        memory = found.get("elder pod memory MB", 0.0)
        say(f"minute {at:.1f}: {len(found)} values; elder pod {memory:.0f} MB")
        await asyncio.sleep(max(0.0, every_s - (time.monotonic() - begun) % every_s))


async def _ended(task: asyncio.Task[None]) -> None:
    """Waits for a task that was cancelled; raises what it ended with before."""
    with suppress(asyncio.CancelledError):
        await task


async def _last(world: ElderWorld) -> list[str]:
    """What is left once nothing is asked any more, and who died."""
    end = time.monotonic() + world.settings.settle_s
    while (undone := await asyncio.to_thread(left, world.system)) and time.monotonic() < end:
        await asyncio.sleep(0.5)
    world.running()
    ended = [] if world.elder_lives else ["the elder pod ended by itself"]
    return [*[f"left at the end: {key}: {what}" for key, what in undone[:5]], *world.died, *ended]


def _end(load: subprocess.Popen[bytes]) -> None:
    if load.poll() is None:
        load.kill()
        load.wait()
