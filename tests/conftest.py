"""Fixtures of the suites that need servers: one set of servers a run, an empty system a test."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from runtime.host import watchdog
from runtime.infra import Infra
from tests.support.servers import Servers
from tests.support.servers import servers as open_servers
from tests.support.system import System, create

QUICK_FILES = 4
"""Files without a slow test that come before each one with."""


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


@pytest.fixture(scope="session")
def unused_servers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of servers that were made and stopped: a copy is as good as new ones, and takes a tenth."""
    directory = tmp_path_factory.mktemp("unused") / "servers"
    Infra.start(directory).close()
    return directory


@pytest.fixture
def infra(unused_servers: Path, tmp_path: Path) -> Iterator[Infra]:
    """Servers of this test's own, which it may stop."""
    own = tmp_path / "servers"
    subprocess.run(["cp", "-a", unused_servers, own], check=True)  # with owners: Postgres insists on its own
    with Infra.start(own) as infra:
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
def pytest_collection() -> Generator[None, Any, Any]:
    """Thousands of tests and what they import stay to the end: looking through them again and again takes seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come early, or the whole run would wait for the last of them; and not all at once."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = [file for file in files.values() if any(item.get_closest_marker("slow") for item in file)]
    quick = [file for file in files.values() if file not in slow]
    items.clear()
    while quick or slow:
        items += chain.from_iterable([*quick[:QUICK_FILES], *slow[:1]])
        del quick[:QUICK_FILES], slow[:1]


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
