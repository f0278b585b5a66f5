"""The servers, pods and gateway of a measurement, as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from runtime.infra import Infra
from tests.bench.processor import cpu_s, resident_bytes
from tests.support.servers import Servers
from tests.support.system import ROOT, PodProcess, System, create

KINDS = "tests.bench.kinds"
TAKEN_WITHIN_S = 60.0
WARM_UP_S = 2.0
"""A load runs for so long before its measurement begins."""


class Miscounted(Exception):
    """The log does not hold what callers were told: the figure would mean nothing."""


class Counted(NamedTuple):
    """Answers and events in the log."""

    answers: int
    events: int


class Scene:
    """An empty system with pods that own all its lanes, and perhaps a gateway."""

    def __init__(
        self,
        system: System,
        infra: Infra,
        log_dir: Path,
        settings: dict[str, Any],
        modules: Sequence[str] = (KINDS,),
        warm_up_s: float = WARM_UP_S,
    ) -> None:
        """`modules` are those whose kinds the pods serve; for `warm_up_s` see WARM_UP_S."""
        self.system = system
        self.warm_up_s = warm_up_s
        self.pods: list[PodProcess] = []
        self.gateway_url = ""
        self._infra = infra
        self._log_dir = log_dir
        self._settings = settings
        self._modules = modules
        self._gateway: subprocess.Popen[str] | None = None
        self._logs: dict[PodProcess, Path] = {}

    # -- processes ------------------------------------------------------------------------------------------------

    def start_pod(self) -> PodProcess:
        """Starts a pod and returns when it is up."""
        log = self._log_dir / f"pod-{len(self._logs) + 1}.log"
        environment = self.system.environment(**self._settings, print_meter=1)
        process, line = _start(["runtime.host.process", *self._modules], environment, log)
        pod = PodProcess(process, line["pod"])
        self.pods.append(pod)
        self._logs[pod] = log
        return pod

    def start_gateway(self) -> None:
        """Starts a gateway on a free port."""
        log = self._log_dir / "gateway.log"
        self._gateway, line = _start(["gateway", "--port", "0"], self.system.environment(), log)
        self.gateway_url = line["url"]

    def kill_pod(self, pod: PodProcess) -> None:
        """SIGKILL."""
        self.pods.remove(pod)
        pod.kill()

    def end_pods(self) -> dict[str, float]:
        """Ends the pods in order; gives the sums of what they counted, see runtime.host.meter."""
        totals: dict[str, float] = {}
        for pod in self.pods:
            log = self._logs[pod]
            if (code := pod.terminate(60)) != 0:
                raise RuntimeError(f"pod {pod.name} ended with exit code {code}: {log.read_text()[-2000:]}")
            for name, value in json.loads(log.read_text().splitlines()[-1]).items():
                if isinstance(value, int | float):
                    totals[name] = totals.get(name, 0) + value
        self.pods.clear()
        return totals

    def close(self) -> None:
        """Ends every process at once."""
        for process in (*[pod.process for pod in self.pods], self._gateway):
            if process is None:
                continue
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    # -- looking --------------------------------------------------------------------------------------------------

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds used so far, by who used them."""
        nats, postgres = self._infra.nats.pid, self._infra.postgres.pid
        assert nats is not None
        assert postgres is not None
        used = {"pod": sum(cpu_s(pod.pid) for pod in self.pods), "nats": cpu_s(nats), "postgres": cpu_s(postgres)}
        if self._gateway is not None:
            used["gateway"] = cpu_s(self._gateway.pid)
        return used

    def resident_bytes(self) -> dict[str, int]:
        """Memory in RAM of the pods, the broker and the gateway."""
        assert self._infra.nats.pid is not None
        held = {"pod": sum(resident_bytes(pod.pid) for pod in self.pods), "nats": resident_bytes(self._infra.nats.pid)}
        if self._gateway is not None:
            held["gateway"] = resident_bytes(self._gateway.pid)
        return held

    def logs(self) -> list[str]:
        """What each pod has written to stderr so far, also those that were killed."""
        return [path.read_text() for path in self._logs.values()]

    def await_owners(self) -> None:
        """Returns when the pods share all lanes."""
        end = time.monotonic() + TAKEN_WITHIN_S
        names = {pod.name for pod in self.pods}
        while time.monotonic() < end:
            owners = [row[0] for row in self.system.sql("SELECT owner FROM partitions")]
            if len(owners) == self.system.partitions and set(owners) == names:
                return
            time.sleep(0.02)
        raise TimeoutError(f"{len(names)} pods did not take all lanes within {TAKEN_WITHIN_S:g} s")

    def counted(self) -> Counted:
        """What is in the log."""
        return Counted(*self.system.sql("SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM events)")[0])

    def check_count(self, before: Counted, answered: int, events_each: int = 1) -> None:
        """Raises Miscounted unless exactly `answered` commands, of so many events each, were counted since `before`."""
        now = self.counted()
        answers, events = now.answers - before.answers, now.events - before.events
        if answers != answered:
            raise Miscounted(f"callers were answered {answered} times, and the log counted {answers} commands")
        if events != answers * events_each:
            raise Miscounted(f"the log holds {events} events and {answers} answers instead of {events_each} for each")


class Stage:
    """Servers of their own, with the partitions and durability that are the default."""

    def __init__(self, infra: Infra, log_dir: Path, partitions: int, warm_up_s: float = WARM_UP_S) -> None:
        self.infra = infra
        self._log_dir = log_dir
        self._partitions = partitions
        self._warm_up_s = warm_up_s
        self._number = 0

    def next_log_dir(self) -> Path:
        """A directory for the logs of one more scene."""
        self._number += 1
        log_dir = self._log_dir / str(self._number)
        log_dir.mkdir()
        return log_dir

    @contextmanager
    def scene(
        self,
        *,
        pods: int = 1,
        gateway: bool = False,
        partitions: int | None = None,
        modules: Sequence[str] = (KINDS,),
        **settings: Any,
    ) -> Iterator[Scene]:
        """An empty database, empty streams, and pods that own all lanes."""
        log_dir = self.next_log_dir()
        endpoints = self.infra.endpoints
        system = create(Servers(endpoints.nats_url, endpoints.postgres_url, "embedded"), "bench")
        system.partitions = partitions or self._partitions
        scene = Scene(system, self.infra, log_dir, settings, modules, self._warm_up_s)
        try:
            for _ in range(pods):
                scene.start_pod()
            scene.await_owners()
            if gateway:
                scene.start_gateway()
            yield scene
        finally:
            scene.close()


def _start(command: list[str], environment: dict[str, str], log: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Starts `python -m …`; gives it with the line of JSON that it prints when it is up."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {process.wait()}: {log.read_text()[-2000:]}")
    return process, json.loads(line)
