"""The single servers: what they are, what they keep, and how they die."""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import nats
import psycopg
import pytest

from runtime.infra import Infra, NatsServer, PostgresServer, ServerFailed, process
from runtime.infra.credentials import Credentials
from runtime.infra.ports import free_port


@pytest.fixture(scope="module")
def infra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Infra]:
    with Infra.start(tmp_path_factory.mktemp("data")) as started:
        yield started


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats", free_port(), "0123abcd")
    yield server
    server.kill()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path / "postgres", free_port(), Credentials("n", "0123abcd", "4567abcd"))
    yield server
    server.kill()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on"), ("max_connections", "200")],
)
def test_postgres_is_durable(infra: Infra, setting: str, value: str) -> None:
    with psycopg.connect(infra.endpoints.postgres_url) as connection:
        assert connection.execute("SELECT current_setting(%s)", [setting]).fetchall() == [(value,)]


def test_postgres_is_version_18_in_utf8(infra: Infra) -> None:
    with psycopg.connect(infra.endpoints.postgres_url) as connection:
        assert connection.info.server_version // 10_000 == 18
        assert connection.execute("SHOW server_encoding").fetchall() == [("UTF8",)]


def test_vectors_work_in_our_database_and_in_new_ones(infra: Infra) -> None:
    with psycopg.connect(infra.endpoints.postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE another")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        assert connection.execute("SELECT '[3,4]'::vector <-> '[0,0]'").fetchall() == [(5.0,)]
    url = infra.endpoints.postgres_url.rpartition("/")[0] + "/another"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT '[3,4]'::vector <-> '[0,0]'").fetchall() == [(5.0,)]


def test_row_level_policies_bind_the_role_that_we_use(infra: Infra) -> None:
    with psycopg.connect(infra.endpoints.postgres_url) as connection:
        connection.execute("CREATE TABLE guarded (tenant text)")
        connection.execute("INSERT INTO guarded VALUES ('acme'), ('other')")
        connection.execute("ALTER TABLE guarded ENABLE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE guarded FORCE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY own ON guarded USING (tenant = 'acme')")
        assert connection.execute("SELECT tenant FROM guarded").fetchall() == [("acme",)]


def test_without_the_password_neither_server_lets_anyone_in(infra: Infra) -> None:
    port = infra.postgres.port
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://troupe:wrong@127.0.0.1:{port}/troupe")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres")

    with socket.create_connection(("127.0.0.1", infra.nats.port)) as stranger:
        stranger.sendall(b"CONNECT {}\r\nPING\r\n")
        with stranger.makefile() as answer:
            assert "Authorization Violation" in answer.read()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of the machine")
@pytest.mark.parametrize("other", ["127.0.0.2", "::1"])
def test_both_servers_listen_on_one_loopback_address_only(infra: Infra, other: str) -> None:
    for server in (infra.nats, infra.postgres):
        socket.create_connection(("127.0.0.1", server.port)).close()
        with pytest.raises(OSError, match="refused|not available|unreachable"):
            socket.create_connection((other, server.port))


def test_no_port_is_one_that_an_outgoing_connection_could_be_given(infra: Infra) -> None:
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not ephemeral.exists():
        pytest.skip("the range is known on Linux only")
    lowest, highest = map(int, ephemeral.read_text().split())
    for server in (infra.nats, infra.postgres):
        assert not lowest <= server.port <= highest


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_servers_inherit_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test")
    monkeypatch.setenv("PGDATA", "/nowhere")
    with Infra.start(tmp_path) as infra:
        for server in (infra.nats, infra.postgres):
            environment = Path(f"/proc/{server.pid}/environ").read_text().split("\0")
            names = {entry.partition("=")[0] for entry in environment if entry}
            assert "PATH" in names
            assert names <= {"PATH", "LC_ALL", "TZ", "LC_COLLATE", "LC_CTYPE", "PGLOCALEDIR", "PGSYSCONFDIR"}, names


def test_a_killed_broker_comes_back_on_its_port_with_its_messages(broker: NatsServer) -> None:
    broker.start()
    first = broker.pid

    asyncio.run(_publish_100(broker.url))
    broker.kill()
    assert not broker.is_running()
    assert broker.pid is None
    broker.start()
    assert broker.pid != first
    assert asyncio.run(_count_stored(broker.url)) == 100


def test_a_killed_database_takes_its_busy_sessions_along_and_keeps_what_was_committed(
    database: PostgresServer, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    database.start()
    assert database.pid is not None
    with psycopg.connect(database.url, autocommit=True) as watcher, psycopg.connect(database.url) as busy:
        watcher.execute("CREATE TABLE t (x int)")
        watcher.execute("INSERT INTO t SELECT generate_series(1, 1000)")
        worker = threading.Thread(target=_swallow, args=(busy, "DO $$ BEGIN LOOP END LOOP; END $$"))
        worker.start()
        active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %%'"
        wait_until(lambda: watcher.execute(active).fetchall() == [(1,)])
        family = process.children(database.pid)
        assert busy.info.backend_pid in {member.pid for member in family}
        database.kill()
        assert not any(member.is_alive() for member in family)
        worker.join()
    database.start()
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(1000,)]


def test_a_stopped_server_can_be_started_again_and_stopping_twice_is_harmless(database: PostgresServer) -> None:
    database.start()
    database.start()
    database.stop()
    database.stop()
    assert not database.is_running()
    database.start()
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_taken_port_is_an_error_that_quotes_the_log(broker: NatsServer, database: PostgresServer) -> None:
    for server in (broker, database):
        with (
            socket.create_server(("127.0.0.1", server.port)),
            pytest.raises(ServerFailed, match="(?i)address already in use"),
        ):
            server.start()
        assert not server.is_running()


def test_two_servers_never_open_one_store(broker: NatsServer) -> None:
    broker.start()
    second = NatsServer(broker.directory, free_port(), "0123abcd")
    with pytest.raises(ServerFailed, match=f"process {os.getpid()} already runs one"):
        second.start()
    assert broker.is_running()


def test_a_server_outlives_the_thread_that_started_it(
    broker: NatsServer, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    starter = threading.Thread(target=broker.start)
    starter.start()
    starter.join()
    assert broker.pid is not None
    if sys.platform == "linux":
        tasks = Path(f"/proc/{os.getpid()}/task")
        wait_until(lambda: str(starter.native_id) not in {task.name for task in tasks.iterdir()})
    asyncio.run(_ping(broker.url))
    assert broker.is_running()


def test_a_directory_may_have_any_name_and_be_deep(tmp_path: Path) -> None:
    deep = tmp_path / ("a 'long' \"name\" with $signs and ünïcode " * 3)
    assert len(str(deep).encode()) > 107
    with Infra.start(deep) as infra:
        asyncio.run(_ping(infra.endpoints.nats_url))
        with psycopg.connect(infra.endpoints.postgres_url) as connection:
            assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_settings_of_ones_own_survive_a_restart(database: PostgresServer) -> None:
    database.start()
    with (database.cluster / "local.conf").open("a") as file:
        file.write("work_mem = '7MB'\n")
    database.stop()
    database.start()
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SHOW work_mem").fetchall() == [("7MB",)]


def test_a_cluster_left_half_made_is_made_again(database: PostgresServer) -> None:
    left = database.cluster.with_name("cluster.new")
    left.mkdir()
    (left / "PG_VERSION").write_text("18\n")
    database.start()
    assert not left.exists()
    assert urlsplit(database.url).port == database.port


async def _publish_100(url: str) -> None:
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="S", subjects=["s"])
    for _ in range(100):
        await stream.publish("s", b"x")
    await connection.close()


async def _count_stored(url: str) -> int:
    connection = await nats.connect(url)
    info = await connection.jetstream().stream_info("S")
    await connection.close()
    return info.state.messages


async def _ping(url: str) -> None:
    connection = await nats.connect(url)
    await connection.flush()
    await connection.close()


def _swallow(connection: "psycopg.Connection[tuple[object, ...]]", statement: str) -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.execute(statement)
