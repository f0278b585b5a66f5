"""Fixtures of the protocol's suites: a system with one pod for a module, and intakes as processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.support import warm
from tests.support.system import KINDS, PodProcess, System


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def running(shared_system: System) -> System:
    """A system with one pod that serves tests/support/kinds.py and tests/protocol/kinds.py."""
    shared_system.start_pod(KINDS, "tests.protocol.kinds")
    return shared_system


Start = Callable[[System], PodProcess]


@pytest.fixture
def start_intake() -> Iterator[Start]:
    """Starts intakes as processes, which end with the test."""
    started: list[PodProcess] = []

    def start(system: System) -> PodProcess:
        process = warm.start("actors.intake", env=system.environment(log_level="ERROR"))
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the intake ended with {process.wait()} before it was up"
        intake = PodProcess(process, str(json.loads(line)["intake"]))
        started.append(intake)
        return intake

    yield start
    for intake in started:
        if intake.process.poll() is None:
            intake.kill()
        assert intake.process.stdout is not None
        intake.process.stdout.close()
