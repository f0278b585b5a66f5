"""Fixtures of the suites that need servers: one set of servers a run, an empty system a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers import Servers
from tests.support.servers import servers as open_servers
from tests.support.system import System, create


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """NATS and Postgres for the whole run."""
    with open_servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture
def system(servers: Servers) -> Iterator[System]:
    """An empty system; its pods end with the test."""
    system = create(servers, "troupe_test")
    yield system
    system.stop_pods()


@pytest.fixture(scope="module")
def shared_system(servers: Servers) -> Iterator[System]:
    """An empty system that the tests of one module share."""
    system = create(servers, "troupe_test_shared")
    yield system
    system.stop_pods()
