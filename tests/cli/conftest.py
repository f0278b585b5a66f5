"""The command line against one system with one pod, shared by the tests of a module."""

from __future__ import annotations

import pytest

from tests.cli.command import Runtime
from tests.support.system import System


@pytest.fixture(scope="module")
def runtime(shared_system: System) -> Runtime:
    """`runtime …` with a pod that runs the kinds of tests.support.kinds."""
    shared_system.start_pod()
    return Runtime(shared_system.environment())
