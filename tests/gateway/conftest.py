"""A gateway in a process of its own, before pods on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas import approvals, schedules
from tests.gateway.process import GatewayProcess
from tests.support.system import KINDS, System

OWN_KINDS = "tests.gateway.kinds"


@pytest.fixture(scope="module")
def world(shared_system: System) -> System:
    """A system with one pod, for all tests of a module."""
    shared_system.start_pod(KINDS, OWN_KINDS, schedules.MODULE, approvals.MODULE)
    return shared_system


@pytest.fixture(scope="module")
def shared_gateway(world: System) -> Iterator[GatewayProcess]:
    """One gateway for all tests of a module that do not end it."""
    with GatewayProcess(world.environment()) as process:
        yield process
