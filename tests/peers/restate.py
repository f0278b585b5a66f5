"""Restate: its server from npm, and a virtual object of its Python SDK."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.infra.ports import free_port
from tests.peers import loading, packages
from tests.peers.peer import Axes, Ground, LeftOut
from tests.peers.work import WORKS, Outcome, Setting, by_step
from tests.support.system import ROOT

SERVER = "@restatedev/restate-server"
PACKAGES = ("restate-sdk", "hypercorn", "granian")
UP_WITHIN_S = 30.0
DONE = "SELECT count(*) AS n FROM sys_invocation WHERE target_handler_name = 'run' AND status = 'completed'"
_SERVICE: Axes = {"service": ("hypercorn", "granian"), "workers": (1, 2), "partitions": (4, 1, 24)}
_SATURATED: Axes = {**_SERVICE, "in_flight": (128, 64, 256, 512), "processes": (1, 2)}
_STEPS: Axes = {
    "service": ("granian", "hypercorn"),
    "workers": (1, 2),
    "partitions": (1, 4, 24),
    "form": ("service", "workflow"),
    "in_flight": (64, 32, 128, 256),
}
_HOT: Axes = {**_SERVICE, "in_flight": (16, 64)}
HYPERCORN = """\
bind = "127.0.0.1:{port}"
workers = {workers}
worker_class = "uvloop"
h2_max_concurrent_streams = 2147483647
keep_alive_max_requests = 2147483647
keep_alive_timeout = 2147483647
loglevel = "WARNING"
"""

class Restate:
    """One server with all its roles, one service of the Python SDK, callers over HTTP."""

    name = "restate"
    title = "Restate, Python SDK"
    how = (
        "A command is a POST to the ingress for a virtual object's handler, which gets the state, adds and sets it. "
        "Callers keep their connections; they are this benchmark's own and cost about 30 µs of processor time a call. "
        "A run is a call of a service, or a workflow under an id of its own, whose handler takes ten `ctx.run_typed`."
    )
    durability = (
        "the server's defaults: a replicated log with one replica, its write-ahead log synced to disk before a record "
        "counts (`log-server.rocksdb-disable-wal-fsync = false`); telemetry off"
    )
    works: Mapping[str, Axes] = {
        "keyed": _SATURATED,
        "alone": {"in_flight": (1,), **_SERVICE},
        "hot": _HOT,
        "steps": _STEPS,
        "run": {"in_flight": (1,), **_SERVICE, "form": ("service", "workflow")},
    }

    def prepare(self, ground: Ground) -> dict[str, str]:
        """See Peer."""
        self._python = packages.environment(ground.state, self.name, PACKAGES)
        _, version = packages.node_package(ground.state, SERVER)
        system = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        self._server = ground.state / "npm" / "node_modules" / f"{SERVER}-{sys.platform}-{system}/bin/restate-server"
        if not self._server.exists():
            raise LeftOut(f"npm has no restate-server for {sys.platform} on {platform.machine()}")
        return {"restate-server": version} | packages.versions(self._python, PACKAGES)

    def measure(self, ground: Ground, work: str, setting: Setting, seconds: float) -> Outcome:
        """See Peer."""
        with _running(self._server, self._python, ground.room(self.name), setting) as (ingress, admin, pids):
            load = loading.Load(Path(sys.executable), "restate_load", ingress, WORKS[work].keys, setting, seconds)
            outcome, answered = loading.run(load, pids)
            if WORKS[work].steps > 1:
                counted = _post(f"{admin}/query", {"query": DONE})["rows"][0]["n"]
                loading.check(answered, int(counted), "Restate")
                return by_step(WORKS[work], outcome)
            query = "SELECT value_utf8 FROM state WHERE service_name = 'Counter'"
            rows = _post(f"{admin}/query", {"query": query})["rows"]
            loading.check(answered, sum(int(row["value_utf8"]) for row in rows), "Restate's state")
        return outcome

@contextmanager
def _running(server: Path, python: Path, room: Path, setting: Setting) -> Iterator[tuple[str, str, dict[str, int]]]:
    """A server with the service registered; gives the URLs of its ingress and its administration, and the pids."""
    ports: list[int] = []
    for _ in range(4):
        ports.append(free_port(ports))
    ingress, admin, fabric, service = ports
    environment = os.environ | {
        "RESTATE_BASE_DIR": str(room / "data"),
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_BIND_PORT": str(fabric),
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_DEFAULT_NUM_PARTITIONS": str(setting.get("partitions", 24)),
        "RESTATE_LOG_FILTER": "warn",
    }
    processes = [
        _start([str(server)], room / "server.log", environment),
        _start(_service(python, room, service, setting), room / "service.log", os.environ | {"PYTHONPATH": str(ROOT)}),
    ]
    try:
        _register(processes, room, f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{service}", ingress)
        pids = {"server": processes[0].pid, "service": processes[1].pid}
        yield f"http://127.0.0.1:{ingress}", f"http://127.0.0.1:{admin}", pids
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

def _service(python: Path, room: Path, port: int, setting: Setting) -> list[str]:
    module, workers = "tests.peers.programs.restate_service:app", str(setting["workers"])
    if setting["service"] == "hypercorn":
        config = room / "hypercorn.toml"
        config.write_text(HYPERCORN.format(port=port, workers=workers))
        return [str(python), "-m", "hypercorn", "--config", str(config), module]
    options = ["--interface", "asgi", "--http", "2", "--host", "127.0.0.1", "--port", str(port), "--workers", workers]
    return [str(python), "-m", "granian", *options, "--log-level", "warning", module]

def _start(command: Sequence[str], log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )

def _register(processes: list[subprocess.Popen[bytes]], room: Path, admin: str, service: str, ingress: int) -> None:
    """Registers the service as soon as both are up, and waits until a call is answered."""
    end = time.monotonic() + UP_WITHIN_S
    registered = False
    while time.monotonic() < end and all(process.poll() is None for process in processes):
        try:
            if not registered:
                _post(f"{admin}/deployments", {"uri": service})
                registered = True
            _post(f"http://127.0.0.1:{ingress}/Counter/first/add", 0)
            return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.1)
    logs = " ".join((room / name).read_text()[-1000:] for name in ("server.log", "service.log"))
    raise RuntimeError(f"Restate was not up within {UP_WITHIN_S:g} s: {logs}")

def _post(url: str, body: object) -> Any:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=10) as answer:
        return json.load(answer)
