"""Real servers in a directory of the test's own, and programs that own them in processes of their own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.infra import process
from runtime.infra.process import ProcessId

BOUND_S = 60.0  # of waiting for what must happen; nothing asserts how long it took

_HOLD = """
import json, sys
from pathlib import Path
from runtime.infra import Infra, attach_or_start
found = attach_or_start(Path(sys.argv[1]))
endpoints = found.endpoints if isinstance(found, Infra) else found
print(json.dumps({"owns": isinstance(found, Infra), "nats_url": endpoints.nats_url, "nats_pid": endpoints.nats_pid,
    "postgres_url": endpoints.postgres_url, "postgres_pid": endpoints.postgres_pid, "owner_pid": endpoints.owner_pid}),
    flush=True)
sys.stdin.readline()
if isinstance(found, Infra):
    found.close()
"""


class Program:
    """A Python program in a process of its own, which prints one JSON line when it is ready, and ends at a line."""

    def __init__(self, source: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended with status {self.process.wait(BOUND_S)} before it was ready"
        ready: dict[str, Any] = json.loads(line)
        return ready

    def end(self) -> int:
        self.process.communicate(b"\n", timeout=BOUND_S)
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=BOUND_S)


@pytest.fixture(autouse=True)
def no_given_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_NATS_URL", raising=False)
    monkeypatch.delenv("RUNTIME_POSTGRES_URL", raising=False)


@pytest.fixture
def run_program() -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def run(source: str, *arguments: object) -> Program:
        programs.append(Program(source, *arguments))
        return programs[-1]

    yield run
    for program in programs:
        with program.process:  # closes its pipes
            program.process.kill()


@pytest.fixture
def hold(run_program: Callable[..., Program]) -> Callable[[Path], Program]:
    """Start a process that owns a directory's servers, or attaches to them, until it is told to end."""
    return lambda data_dir: run_program(_HOLD, data_dir)


@pytest.fixture
def seen() -> Callable[[int], ProcessId]:
    """The live process with a pid."""

    def see(pid: int) -> ProcessId:
        found = process.find(pid)
        assert found is not None, f"process {pid} is not alive"
        return found

    return see


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BOUND_S
        while not holds():
            assert time.monotonic() < deadline, f"waited {BOUND_S:g} s in vain"
            time.sleep(0.02)

    return wait
