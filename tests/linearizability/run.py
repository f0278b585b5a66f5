"""One run: servers, pods, a gateway, clients and faults; then every key's history is checked."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos.faults import Fault, Faults
from tests.chaos.settings import ChaosSettings
from tests.chaos.world import World, first_answer
from tests.gateway.process import GatewayProcess
from tests.linearizability.checker import TooManyOrders, check
from tests.linearizability.clients import MODELS, Clients
from tests.linearizability.explain import describe
from tests.linearizability.history import Operation, by_key
from tests.linearizability.ways import Ways

FAULTS = ("kill", "stop", "term", "nats", "postgres")
KINDS = ("tests.linearizability.kinds",)
SHOWN = 5


@dataclasses.dataclass(frozen=True)
class LinearSettings:
    """One run. `per_key` clients share each key and think for `think_s` seconds on average; `modules` are the pods'."""

    seconds: float = 60.0
    seed: int = 1
    faults: tuple[str, ...] = FAULTS
    fault_every_s: float = 2.4
    pods: int = 3
    partitions: int = 8
    per_key: int = 4
    think_s: float = 0.08
    warm_up_s: float = 1.0
    calm_s: float = 1.0
    modules: Sequence[str] = KINDS


@dataclasses.dataclass(slots=True)
class Outcome:
    """What came of a run. `findings` are violations as lines; `trouble` is what is wrong beside them."""

    histories: int
    operations: int
    keys: int
    violations: int
    findings: list[str]
    trouble: list[str]
    faults: list[Fault]

    @property
    def good(self) -> bool:
        """Whether every key was checked and nothing was found."""
        return not self.violations and not self.trouble and self.histories == self.keys

    @property
    def line(self) -> str:
        """The line that says it all."""
        return (
            f"histories {self.histories}, operations {self.operations}, keys {self.keys}, violations {self.violations}"
        )


async def run(settings: LinearSettings, data_dir: Path, say: Callable[[str], None] = print) -> Outcome:
    """Runs it with servers and logs under `data_dir`, which must be empty."""
    chaos = ChaosSettings(
        seconds=settings.seconds,
        seed=settings.seed,
        faults=settings.faults,
        fault_every_s=settings.fault_every_s,
        pods=settings.pods,
        partitions=settings.partitions,
    )
    world = await asyncio.to_thread(World, chaos, data_dir, settings.modules)
    try:
        return await _run(world, settings, say)
    finally:
        await asyncio.to_thread(world.close)


async def _run(world: World, settings: LinearSettings, say: Callable[[str], None]) -> Outcome:
    await asyncio.gather(*[world.start_pod() for _ in range(settings.pods)])
    await first_answer(world)
    environment = world.system.environment() | {"RUNTIME_LOG_LEVEL": "ERROR"}
    with GatewayProcess(environment) as gateway:
        ways = await Ways.open(world.system.nats_url, gateway.url)
        clients, faults = Clients(ways, settings.seed, settings.per_key, settings.think_s), Faults(world)
        say(f"seed {settings.seed}: {settings.pods} pods, {settings.seconds:g} s of operations")
        running = asyncio.ensure_future(clients.run(settings.seconds))
        try:
            await asyncio.sleep(settings.warm_up_s)
            await faults.run(settings.seconds - settings.warm_up_s - settings.calm_s)
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await ways.close()
    world.running()
    outcome = judge(clients.history, [*clients.failed, *world.died], faults.history)
    open_ = sum(not one.known for one in clients.history)
    say(f"faults: {', '.join(fault.kind for fault in faults.history)}; {open_} operations were never answered")
    for line in [*outcome.trouble, *outcome.findings]:
        say(line)
    if not outcome.good:
        say(f"FAILED with seed {settings.seed}: {settings}")
    return outcome


def judge(history: Sequence[Operation], trouble: Sequence[str], faults: Sequence[Fault] = ()) -> Outcome:
    """Checks every key."""
    outcome = Outcome(0, len(history), 0, 0, [], [f"TROUBLE: {text}" for text in trouble], list(faults))
    for key, operations in by_key(history).items():
        outcome.keys += 1
        model = MODELS[key.partition("-")[0]]
        try:
            violation = check(model, operations)
        except TooManyOrders as error:
            outcome.trouble.append(f"TROUBLE: {error}: give this key up earlier")
            continue
        outcome.histories += 1
        if violation is not None:
            outcome.violations += 1
            if outcome.violations <= SHOWN:
                outcome.findings += describe(model, violation)
    return outcome
