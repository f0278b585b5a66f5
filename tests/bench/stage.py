"""The servers, pods and gateway of a measurement, as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.infra import Infra
from tests.bench.processor import cpu_s, resident_bytes
from tests.support.servers import Servers
from tests.support.system import ROOT, PodProcess, System, create

KINDS = "tests.bench.kinds"
TAKEN_WITHIN_S = 60.0


class Miscounted(Exception):
    """The log does not hold what callers were told: the figure would mean nothing."""


class Scene:
    """An empty system with pods that own all its lanes, and perhaps a gateway."""

    def __init__(
        self,
        system: System,
        infra: Infra,
        log_dir: Path,
        settings: dict[str, Any],
        modules: Sequence[str] = (KINDS,),
    ) -> None:
        """`modules` are those whose kinds the pods serve."""
        self.system = system
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

    def counted(self, events_each: int = 1) -> int:
        """Answers in the log. Raises Miscounted when there are not so many events for each of them."""
        events, answers = self.system.sql("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM inbox)")[0]
        if events != answers * events_each:
            raise Miscounted(f"the log holds {events} events and {answers} answers instead of {events_each} for each")
        return int(answers)

    def check_count(self, before: int, answered: int, events_each: int = 1) -> None:
        """Raises Miscounted unless exactly `answered` commands were counted since there were `before`."""
        found = self.counted(events_each) - before
        if found != answered:
            raise Miscounted(f"callers were answered {answered} times, and the log counted {found} commands")


class Stage:
    """Servers of their own, with the partitions and durability that are the default."""

    def __init__(self, infra: Infra, log_dir: Path, partitions: int) -> None:
        self.infra = infra
        self._log_dir = log_dir
        self._partitions = partitions
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
        system = create(Servers(endpoints.nats_url, endpoints.postgres_url, "embedded"), f"bench_{self._number}")
        system.partitions = partitions or self._partitions
        scene = Scene(system, self.infra, log_dir, settings, modules)
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
