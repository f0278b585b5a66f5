"""Fixtures of the suites that need servers: one set of servers a run, an empty system a test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.host import watchdog
from runtime.infra import Infra
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


@pytest.fixture
def new_system(servers: Servers) -> Iterator[System]:
    """An empty system whose database nobody has migrated yet; its pods end with the test."""
    system = create(servers, "troupe_test", new=True)
    yield system
    system.stop_pods()


@pytest.fixture(scope="module")
def shared_system(servers: Servers) -> Iterator[System]:
    """An empty system that the tests of one module share."""
    system = create(servers, "troupe_test_shared")
    yield system
    system.stop_pods()


@pytest.fixture
def infra(tmp_path: Path) -> Iterator[Infra]:
    """Servers of this test's own, which it may stop."""
    with Infra.start(tmp_path / "servers") as infra:
        yield infra


@pytest.fixture
def own_system(infra: Infra) -> Iterator[System]:
    """An empty system on servers of this test's own; its pods end with the test."""
    endpoints = infra.endpoints
    system = create(Servers(endpoints.nats_url, endpoints.postgres_url, "embedded"), "troupe_test_own")
    yield system
    system.stop_pods()


@pytest.fixture(autouse=True)
def no_watchdog_ends_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod in this process shares its loop with its test, which holds it up on a busy machine: that ends no worker."""
    monkeypatch.setattr(watchdog, "_end", lambda: None)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A worker's report goes to the main process as UTF-8, which a lone surrogate in a captured log has not."""
    return _as_utf8((yield))


def _as_utf8(found: Any) -> Any:
    if isinstance(found, str):
        return found.encode("utf-8", "backslashreplace").decode()
    if isinstance(found, dict):
        return {_as_utf8(name): _as_utf8(value) for name, value in found.items()}
    if isinstance(found, (list, tuple)):
        return type(found)([_as_utf8(value) for value in found])
    return found
