"""Servers held by a process of their own: up, status, down."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runtime.infra import Infra, InfraError, ServerFailed, down, status, up, up_detached
from runtime.infra.process import ProcessId

Wait = Callable[[Callable[[], bool]], None]


def test_up_detached_then_status_then_down(tmp_path: Path, seen: Callable[[int], ProcessId]) -> None:
    assert status(tmp_path).state == "stopped"
    endpoints = up_detached(tmp_path)
    try:
        assert endpoints.owner_pid not in (None, os.getpid())
        assert endpoints.nats_pid is not None
        assert endpoints.postgres_pid is not None
        servers = [seen(endpoints.nats_pid), seen(endpoints.postgres_pid)]
        assert up_detached(tmp_path) == endpoints
        found = status(tmp_path)
        assert (found.state, found.endpoints) == ("running", endpoints)
        assert found.nats_accepts
        assert found.postgres_accepts
    finally:
        ended = down(tmp_path)
    assert ended == endpoints.owner_pid
    assert not any(server.is_alive() for server in servers)
    found = status(tmp_path)
    assert (found.state, found.endpoints, found.nats_accepts) == ("stopped", None, False)
    assert down(tmp_path) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_owner_ends_in_order_at_a_signal(tmp_path: Path, number: signal.Signals, wait_until: Wait) -> None:
    owner = subprocess.Popen([sys.executable, "-m", "runtime.infra", "--data", str(tmp_path)])
    try:
        wait_until(lambda: status(tmp_path).state == "running")
        owner.send_signal(number)
        assert owner.wait(60) == 0
    finally:
        owner.kill()
        owner.wait()
    assert status(tmp_path).state == "stopped"
    assert "database system is shut down" in (tmp_path / "postgres" / "postgres.log").read_text().splitlines()[-1]


def test_down_ends_an_owner_that_handles_no_signal(
    tmp_path: Path, hold: Callable[[Path], Any], seen: Callable[[int], ProcessId]
) -> None:
    owner = hold(tmp_path)
    found = owner.ready()
    servers = [seen(found["nats_pid"]), seen(found["postgres_pid"])]
    assert down(tmp_path) == owner.process.pid
    assert not any(server.is_alive() for server in servers)
    assert owner.process.wait(60) == -signal.SIGTERM


def test_a_server_that_dies_under_its_owner_comes_back_on_its_port(tmp_path: Path, wait_until: Wait) -> None:
    endpoints = up_detached(tmp_path)
    try:
        assert endpoints.postgres_pid is not None
        os.kill(endpoints.postgres_pid, signal.SIGKILL)

        def back() -> bool:
            now = status(tmp_path).endpoints
            return now is not None and now.postgres_pid not in (None, endpoints.postgres_pid)

        wait_until(back)
        with psycopg.connect(endpoints.postgres_url) as connection:
            assert connection.execute("SELECT 1").fetchall() == [(1,)]
    finally:
        down(tmp_path)
    assert "PostgreSQL had ended and was started again" in (tmp_path / "owner.log").read_text()


def test_when_the_owner_cannot_start_then_the_error_says_what_it_said(tmp_path: Path) -> None:
    with Infra.start(tmp_path):
        pass
    (tmp_path / "postgres" / "cluster" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServerFailed, match="(?s)owner ended with status 1.*PostgreSQL ended with status.*9"):
        up_detached(tmp_path)
    assert status(tmp_path).state == "stopped"


def test_with_given_urls_there_is_nothing_to_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setenv("RUNTIME_POSTGRES_URL", "postgresql://127.0.0.1:1/log")
    for start in (up, up_detached):
        with pytest.raises(InfraError, match="nothing to start"):
            start(tmp_path / "data")
    found = status(tmp_path)
    assert (found.state, found.nats_accepts, found.postgres_accepts) == ("given", False, False)
    assert not (tmp_path / "data").exists()


def test_down_refuses_to_end_the_process_that_asks(tmp_path: Path) -> None:
    with Infra.start(tmp_path), pytest.raises(InfraError, match="this very process"):
        down(tmp_path)
