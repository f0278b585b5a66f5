"""The servers, pods and gateway of a measurement, and the load against them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from runtime.infra import Infra
from tests.bench.load import NatsLoad, Tally
from tests.bench.processor import cpu_s
from tests.support.servers import Servers
from tests.support.system import KINDS, ROOT, PodProcess, System, create

WARM_UP_S = 2.0


class Miscounted(Exception):
    """The log does not hold what callers were told: the figure means nothing."""


@dataclasses.dataclass(slots=True)
class Usage:
    """Processor seconds used during a measurement."""

    pods: float
    nats: float
    postgres: float
    clients: float

    def per_command_us(self, commands: int) -> dict[str, float]:
        """Microseconds a command, by who used them."""
        return {name: value / max(commands, 1) * 1e6 for name, value in dataclasses.asdict(self).items()}


@dataclasses.dataclass(slots=True)
class Rate:
    """What a load measured. Times in milliseconds."""

    commands: int
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    usage: Usage


class Stage:
    """Servers of their own; every measurement gets an empty database and empty streams."""

    def __init__(self, infra: Infra, log_dir: Path) -> None:
        self.infra = infra
        self.log_dir = log_dir
        self._number = 0

    @contextmanager
    def system(self, *, pods: int = 1, **settings: object) -> Iterator[System]:
        """An empty system with so many pods that own all lanes."""
        self._number += 1
        endpoints = self.infra.endpoints
        found = create(Servers(endpoints.nats_url, endpoints.postgres_url, "embedded"), f"bench_{self._number}")
        found.partitions = 128
        try:
            for number in range(pods):
                self.start_pod(found, f"{self._number}-{number}", **settings)
            await_owners(found, pods)
            yield found
        finally:
            found.stop_pods()

    def load(self, system: System, keys: Sequence[str], *, processes: int, in_flight: int, seconds: float) -> Rate:
        """Calls `keys` from `processes` processes with `in_flight` commands in flight in all. Raises Miscounted."""
        before = counted(system)
        begin_at = time.time() + WARM_UP_S
        loads = [
            NatsLoad(system.nats_url, list(keys[n::processes]) or list(keys), in_flight // processes, begin_at, seconds)
            for n in range(processes)
        ]
        running = [start_load("tests.bench.load", one, system) for one in loads]
        time.sleep(max(0.0, begin_at - time.time()))
        used = self._cpu(system)
        time.sleep(max(0.0, begin_at + seconds - time.time()))
        after = self._cpu(system)
        tallies = [finish_load(process) for process in running]
        check_count(system, before, sum(tally.answered for tally in tallies))
        if failed := sum(tally.failed for tally in tallies):
            raise Miscounted(f"{failed} commands were answered with an error")
        pods, nats, postgres = [late - early for early, late in zip(used, after, strict=True)]
        usage = Usage(pods, nats, postgres, sum(tally.cpu_s for tally in tallies))
        return rate_of([wait for tally in tallies for wait in tally.waits], seconds, usage)

    def start_pod(self, system: System, name: str, **settings: object) -> PodProcess:
        """Starts a pod of the tests' kinds, whose log is pod-<name>.log, and returns when it is up."""
        environment = {**system.environment(**settings), "RUNTIME_PRINT_METER": "1"}
        with (self.log_dir / f"pod-{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "runtime.host.process", KINDS],
                env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"pod {name} ended with {process.wait()} before it was up; see {log.name}")
        pod = PodProcess(process, json.loads(line)["pod"])
        system._processes.append(pod)
        return pod

    def _cpu(self, system: System) -> tuple[float, float, float]:
        nats, postgres = self.infra.nats.pid, self.infra.postgres.pid
        assert nats is not None
        assert postgres is not None
        return sum(cpu_s(pod.pid) for pod in system._processes), cpu_s(nats), cpu_s(postgres)


def await_owners(system: System, pods: int, timeout_s: float = 30.0) -> None:
    """Returns when all lanes are owned, and shared between so many pods."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        owners = [row[0] for row in system.sql("SELECT owner FROM partitions")]
        if len(owners) == system.partitions and None not in owners and len(set(owners)) == pods:
            return
        time.sleep(0.02)
    raise TimeoutError(f"{pods} pods did not take all lanes within {timeout_s:g} s")


def start_load(module: str, load: msgspec.Struct, system: System) -> subprocess.Popen[bytes]:
    """Starts a process of load."""
    command = [sys.executable, "-m", module, json.dumps(msgspec.to_builtins(load))]
    return subprocess.Popen(command, cwd=ROOT, env=system.environment(), stdout=subprocess.PIPE)


def finish_load(process: subprocess.Popen[bytes]) -> Tally:
    """What a process of load saw."""
    output, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"a process of load ended with exit code {process.returncode}")
    return msgspec.msgpack.decode(output, type=Tally)


def counted(system: System) -> int:
    """Commands of counters that the log has counted: events and recorded answers must agree."""
    events, inbox = system.sql("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM inbox)")[0]
    if events != inbox:
        raise Miscounted(f"the log holds {events} events and {inbox} answers: each addition makes one of both")
    return int(events)


def check_count(system: System, before: int, answered: int) -> None:
    """Raises Miscounted unless exactly `answered` commands were counted since `before`."""
    found = counted(system) - before
    if found != answered:
        raise Miscounted(f"callers were answered {answered} times, and the log counted {found} commands")


def rate_of(waits: list[float], seconds: float, usage: Usage) -> Rate:
    """The figures of a measurement."""
    waits.sort()
    if not waits:
        raise Miscounted("nothing was answered during the measurement")
    p50, p99 = (waits[int(len(waits) * share)] * 1000 for share in (0.50, 0.99))
    return Rate(len(waits), len(waits) / seconds, p50, p99, waits[-1] * 1000, usage)


def environment_of(**extra: str) -> dict[str, str]:
    """This process's environment with additions."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **extra}
