"""The servers, pods and gateways of a run, and what can be done to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.keys import new_key
from runtime.infra.ports import free_port
from tests.chaos.faults.kinds import needs_of
from tests.chaos.settings import TENANTS, ChaosSettings
from tests.chaos.stage import Stage
from tests.support.servers import Servers
from tests.support.system import PodProcess, System
from tests.support.warm import Process, start

START_TIMEOUT_S = 60.0
KINDS = ("tests.chaos.kinds", "tests.chaos.agents")
"""What pods serve."""
STREAM_HEARTBEAT_S = 2.0
SUSPEND_AFTER_S = 0.5
"""So that what waits is suspended while faults come."""


class Gateway(PodProcess):
    """A gateway in a process of its own; one that is started again listens where it did."""

    def __init__(self, process: Process, name: str, port: int) -> None:
        super().__init__(process, name)
        self.port = port

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


class Whole(System):
    """What there is on all servers of a stage together, for those who check: not by the ways that faults break."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(Servers(stage.nats_url, stage.postgres.url, "embedded"), "troupe")
        self.postgres_url = stage.postgres_url
        found = [Servers(stage.nats_url, server.url, "embedded") for server in stage.databases.values()]
        self._each = [System(servers, "troupe") for servers in found]

    def sql(self, statement: str, *parameters: Any) -> list[Any]:
        """The rows of every server, one's after the other's."""
        return [row for one in self._each for row in one.sql(statement, *parameters)]


class World:
    """A stage of its own under `data_dir`, pods as processes that serve `modules`, and gateways.

    Pods are started in `group`, which is their code's version too: it changes when another one is promoted.
    """

    def __init__(self, settings: ChaosSettings, data_dir: Path, modules: Sequence[str] = KINDS) -> None:
        self.settings = settings
        self.modules = modules
        self.data_dir = data_dir
        self.stage = Stage(needs_of(settings.faults), data_dir, split=settings.split)
        self.system = Whole(self.stage)
        self.system.partitions = settings.partitions
        self.pods: list[PodProcess] = []
        self.up: set[PodProcess] = set()
        self.frozen: set[PodProcess] = set()
        self.group = "v1"
        self.gateways: list[Gateway] = []
        self.api_keys = _api_keys(data_dir / "keys")
        self.outside = data_dir / "outside.log"
        """What steps do outside: a line each time that one runs, see kinds.py."""
        self.pids_frozen: set[int] = set()
        self.died: list[str] = []
        """Pods and gateways that ended by themselves."""
        self._started = 0
        self._places: dict[PodProcess, str] = {}

    # -- pods -----------------------------------------------------------------------------------------------------

    async def start_pod(self, group: str | None = None) -> PodProcess:
        """Starts a pod, of the current version if no other is named, and returns when it is up."""
        self._started += 1
        place, group = f"pod {self._started}", group or self.group
        environment = self.system.environment(trim_lag_s=self.settings.trim_lag_s, group=group, code_version=group)
        environment["CHAOS_OUTSIDE"] = str(self.outside)
        environment["RUNTIME_SUSPEND_AFTER_S"] = str(SUSPEND_AFTER_S)
        environment["PYTHONFAULTHANDLER"] = "1"  # a process that is aborted says where it was
        environment |= self.stage.environment("pod", place)
        with (self.data_dir / f"pod-{self._started}.log").open("wb") as log:
            process = start("runtime.host.process", *self.modules, env=environment, stderr=log)
        pod = PodProcess(process, f"#{self._started}")
        self._places[pod] = place
        self.pods.append(pod)
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        if line:
            pod.name = json.loads(line)["pod"]
            self.up.add(pod)
        else:
            self._forget(pod)
            self.died.append(f"pod {pod.name} ended with exit code {process.wait()} before it was up")
        return pod

    def kill_pod(self, pod: PodProcess) -> None:
        """SIGKILL."""
        pod.kill()
        self._forget(pod)

    async def terminate_pod(self, pod: PodProcess) -> int:
        """SIGTERM; gives the exit code."""
        self.up.discard(pod)
        code = await asyncio.to_thread(pod.terminate, 60)
        self._forget(pod)
        return code

    def running(self) -> list[PodProcess]:
        """Pods that are up and not frozen. Notes those that ended by themselves."""
        for pod in list(self.pods):
            if pod.process.poll() is not None and pod in self.up:
                self._forget(pod)
                self.died.append(f"pod {pod.name} ended by itself with exit code {pod.process.returncode}")
        for gateway in list(self.gateways):
            if gateway.process.poll() is not None:
                self.forget_gateway(gateway)
                self.died.append(f"{gateway.name} ended by itself with exit code {gateway.process.returncode}")
        return [pod for pod in self.pods if pod in self.up and pod not in self.frozen]

    def owned_lanes(self, pod: PodProcess) -> list[tuple[int, int]]:
        """(lane, epoch) of a pod, by the log; empty when the log cannot be asked."""
        with contextlib.suppress(Exception):
            rows = self.system.sql(_OWNED, [pod.pid])
            return [(row[0], row[1]) for row in rows]
        return []

    # -- gateways -------------------------------------------------------------------------------------------------

    async def start_gateway(self, port: int = 0) -> Gateway:
        """Starts a gateway, on that port if it is not 0, and returns when it listens."""
        port = port or free_port()
        place = f"gateway {port}"
        environment = self.system.environment(
            api_keys_file=self.data_dir / "keys", stream_heartbeat_s=STREAM_HEARTBEAT_S
        )
        environment |= self.stage.environment("gateway", place)
        with (self.data_dir / f"gateway-{port}.log").open("ab") as log:
            process = start("gateway", "--port", str(port), env=environment, stderr=log)
        gateway = Gateway(process, place, port)
        self._places[gateway] = place
        self.gateways.append(gateway)
        assert process.stdout is not None
        if await asyncio.to_thread(process.stdout.readline):
            self.up.add(gateway)
        elif gateway in self.gateways:  # else it was noticed already
            self.forget_gateway(gateway)
            self.died.append(f"{place} ended with exit code {process.wait()} before it listened")
        return gateway

    def kill_gateway(self, gateway: Gateway) -> None:
        """SIGKILL. Start another one on its port."""
        gateway.kill()
        self.forget_gateway(gateway)

    def forget_gateway(self, gateway: Gateway) -> None:
        """It has ended."""
        self.gateways.remove(gateway)
        self.frozen.discard(gateway)
        self.up.discard(gateway)
        self.stage.release(self._places.pop(gateway))
        assert gateway.process.stdout is not None
        gateway.process.stdout.close()

    def mark(self, what: str) -> None:
        """A line of its own among those of steps: what came before it was before."""
        with self.outside.open("a") as lines:
            lines.write(f"{what} - - 0\n")

    # -- both -----------------------------------------------------------------------------------------------------

    def freeze(self, pod: PodProcess) -> None:
        """SIGSTOP."""
        pod.freeze()
        self.pids_frozen.add(pod.pid)
        self.frozen.add(pod)

    def wake(self, pod: PodProcess) -> None:
        """SIGCONT; nothing when it is gone."""
        if pod in self.frozen:
            pod.wake()
            self.frozen.discard(pod)

    def place_of(self, pod: PodProcess) -> str:
        """What the stage calls a process."""
        return self._places.get(pod, "")

    def _forget(self, pod: PodProcess) -> None:
        self.pods.remove(pod)
        self.stage.release(self._places.pop(pod))
        assert pod.process.stdout is not None
        pod.process.stdout.close()
        self.frozen.discard(pod)
        self.up.discard(pod)

    def close(self) -> None:
        """Ends everything at once."""
        for pod in list(self.pods):
            self.kill_pod(pod)
        for gateway in list(self.gateways):
            self.kill_gateway(gateway)
        self.stage.close()


def _api_keys(path: Path) -> dict[str, str]:
    """tenant → an API key of it, which the file says gateways are to know."""
    made = {tenant: new_key(tenant, "load") for tenant in TENANTS}
    path.write_text("".join(f"{line}\n" for _, line in made.values()))
    return {tenant: key for tenant, (key, _) in made.items()}


_OWNED = "SELECT p.lane, p.epoch FROM partitions p JOIN pods d ON d.id = p.owner WHERE d.pid = ANY(%s)"


async def first_answer(world: World, timeout_s: float = START_TIMEOUT_S) -> None:
    """Returns when every lane has an owner that reads it."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        owned = world.system.sql(_OWNED, [pod.pid for pod in world.running()])
        if len(owned) == world.settings.partitions * len(world.stage.streams):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"the pods did not take all lanes within {timeout_s:g} s")
