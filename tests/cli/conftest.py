"""The command line against one system with one pod, shared by the tests of a module."""

from __future__ import annotations

import pytest

from schemas import approvals, schedules
from tests.cli.command import Runtime
from tests.support.system import KINDS, System


@pytest.fixture(scope="module")
def runtime(shared_system: System) -> Runtime:
    """`runtime …` with a pod that runs the kinds of tests.support.kinds, schedules and approvals."""
    shared_system.start_pod(KINDS, schedules.MODULE, approvals.MODULE, "tests.support.generators")
    return Runtime(shared_system.environment())
