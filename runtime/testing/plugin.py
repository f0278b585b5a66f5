"""For pytest: `-p runtime.testing.plugin --engine=real` runs the Worlds of all tests on a pod and real servers."""

from __future__ import annotations

import os
import sys

import pytest

from runtime.testing.engine import VARIABLE


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.getgroup("troupe").addoption(
        "--engine",
        choices=("memory", "real"),
        default=None,
        help="what a runtime.testing.World runs on: memory (the default), or a pod on real servers",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Hands the option on, also to the workers of pytest-xdist."""
    asked = config.getoption("--engine")
    if asked is not None:
        os.environ[VARIABLE] = asked


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Closes the world that a test has left open."""
    real = sys.modules.get("runtime.testing.real")
    if real is not None:
        real.close_open()


def pytest_unconfigure() -> None:
    """Ends the servers."""
    servers = sys.modules.get("runtime.testing.servers")
    if servers is not None:
        servers.close()
