"""Which servers `resolve` yields: the given ones, running ones, or its own."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import psycopg
import pytest

from runtime.infra import AlreadyOwned, IncompleteConfiguration, Infra, default_data_dir, resolve, status
from runtime.infra.process import ProcessId


def test_given_both_urls_then_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_NATS_URL", "nats://broker.test:4222")
    monkeypatch.setenv("RUNTIME_POSTGRES_URL", "postgresql://log.test/log")
    data_dir = tmp_path / "data"
    with resolve(data_dir) as endpoints:
        assert endpoints.nats_url == "nats://broker.test:4222"
        assert endpoints.postgres_url == "postgresql://log.test/log"
        assert not endpoints.embedded
        assert endpoints.owner_pid is endpoints.nats_pid is endpoints.postgres_pid is None
        assert not data_dir.exists()


@pytest.mark.parametrize(
    ("given", "missing"),
    [("RUNTIME_NATS_URL", "RUNTIME_POSTGRES_URL"), ("RUNTIME_POSTGRES_URL", "RUNTIME_NATS_URL")],
)
def test_given_one_url_only_then_the_error_names_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, missing: str
) -> None:
    monkeypatch.setenv(given, "nats://broker.test")
    with (
        pytest.raises(IncompleteConfiguration, match=f"{given} is set and {missing} is not"),
        resolve(tmp_path / "data"),
    ):
        pass
    assert not (tmp_path / "data").exists()


def test_the_default_directory_is_in_the_users_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "troupe"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_data_dir() == tmp_path / "home" / ".local" / "state" / "troupe"


def test_a_second_caller_attaches_and_the_first_one_stops_the_servers(
    tmp_path: Path, hold: Callable[[Path], Any], seen: Callable[[int], ProcessId]
) -> None:
    with resolve(tmp_path) as endpoints:
        assert endpoints.nats_pid is not None
        assert endpoints.postgres_pid is not None
        servers = [seen(endpoints.nats_pid), seen(endpoints.postgres_pid)]
        with resolve(tmp_path) as again:
            assert again == endpoints
        with pytest.raises(AlreadyOwned, match=str(endpoints.owner_pid)):
            Infra.start(tmp_path)
        other = hold(tmp_path)
        found = other.ready()
        assert found == {
            "owns": False,
            "nats_url": endpoints.nats_url,
            "nats_pid": endpoints.nats_pid,
            "postgres_url": endpoints.postgres_url,
            "postgres_pid": endpoints.postgres_pid,
            "owner_pid": endpoints.owner_pid,
        }
        assert other.end() == 0
        assert all(server.is_alive() for server in servers)
    assert not any(server.is_alive() for server in servers)
    assert status(tmp_path).state == "stopped"


def test_data_and_passwords_survive_a_restart(tmp_path: Path) -> None:
    with resolve(tmp_path) as endpoints:
        with psycopg.connect(endpoints.postgres_url) as connection:
            connection.execute("CREATE TABLE kept (x int)")
            connection.execute("INSERT INTO kept VALUES (42)")
        asyncio.run(_publish(endpoints.nats_url))
    with resolve(tmp_path) as later:
        with psycopg.connect(later.postgres_url) as connection:
            assert connection.execute("SELECT x FROM kept").fetchall() == [(42,)]
        assert asyncio.run(_stored(later.nats_url)) == b"kept"
    assert _password(later.nats_url) == _password(endpoints.nats_url)
    assert _password(later.postgres_url) == _password(endpoints.postgres_url)


def test_of_three_that_start_at_once_one_owns_and_all_agree(tmp_path: Path, hold: Callable[[Path], Any]) -> None:
    programs = [hold(tmp_path) for _ in range(3)]
    found = [program.ready() for program in programs]
    assert sorted(one.pop("owns") for one in found) == [False, False, True]
    assert found[0] == found[1] == found[2]
    with psycopg.connect(found[0]["postgres_url"]) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    for program in programs:
        assert program.end() == 0


def test_endpoints_do_not_print_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_NATS_URL", "nats://me:secret@broker.test")
    monkeypatch.setenv("RUNTIME_POSTGRES_URL", "postgresql://me:secret@log.test/log")
    with resolve(tmp_path) as endpoints:
        assert "secret" not in repr(endpoints)


def test_the_directory_and_its_secrets_are_closed_to_others(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with Infra.start(data_dir):
        assert data_dir.stat().st_mode & 0o777 == 0o700
        for name in ("credentials.json", "servers.json", "nats/nats.conf"):
            assert (data_dir / name).stat().st_mode & 0o777 == 0o600, name


async def _publish(url: str) -> None:
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="KEPT", subjects=["kept"])
    await stream.publish("kept", b"kept")
    await connection.close()


async def _stored(url: str) -> bytes | None:
    connection = await nats.connect(url)
    message = await connection.jetstream().get_msg("KEPT", 1)
    await connection.close()
    return message.data


def _password(url: str) -> str:
    return url.partition("@")[0].rpartition(":")[2]
