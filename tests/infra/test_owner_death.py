"""Owners that die without a word: no server outlives them, and the next one carries on."""

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runtime.infra import Infra, PostgresServer, process, status
from runtime.infra.account import postgres_account
from runtime.infra.credentials import Credentials
from runtime.infra.ports import free_port
from runtime.infra.process import ProcessId

_FORKING_OWNER = """
import json, os, sys, time
from pathlib import Path
from runtime.infra import Infra
infra = Infra.start(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    os.closerange(0, 3)
    time.sleep(600)
print(json.dumps({"child": child, "nats_pid": infra.nats.pid, "postgres_pid": infra.postgres.pid}), flush=True)
sys.stdin.readline()
"""

_WATCHED_OWNER = """
import json, sys
from pathlib import Path
from runtime.infra import Infra, NatsServer, PostgresServer
NatsServer.has_parent_death_signal = PostgresServer.has_parent_death_signal = False
infra = Infra.start(Path(sys.argv[1]))
print(json.dumps({"nats_pid": infra.nats.pid, "postgres_pid": infra.postgres.pid}), flush=True)
sys.stdin.readline()
"""

Wait = Callable[[Callable[[], bool]], None]


def test_given_an_owner_killed_when_all_its_servers_end_then_the_next_start_finds_the_data(
    tmp_path: Path, hold: Callable[[Path], Any], seen: Callable[[int], ProcessId], wait_until: Wait
) -> None:
    owner = hold(tmp_path)
    found = owner.ready()
    postgres = seen(found["postgres_pid"])
    processes = [seen(found["nats_pid"]), postgres, *process.children(postgres.pid)]
    with psycopg.connect(found["postgres_url"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS x")
        owner.kill()
        assert (tmp_path / "servers.json").exists(), "nobody was left to remove the record"
        wait_until(lambda: not any(one.is_alive() for one in processes))
    assert status(tmp_path).state == "stopped"
    with Infra.start(tmp_path) as infra, psycopg.connect(infra.endpoints.postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchall() == [(1000,)]


def test_given_an_owner_and_its_servers_killed_at_once_then_the_next_start_recovers(
    tmp_path: Path, hold: Callable[[Path], Any]
) -> None:
    owner = hold(tmp_path)
    found = owner.ready()
    with psycopg.connect(found["postgres_url"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS x")
    for pid in (found["postgres_pid"], found["nats_pid"], found["owner_pid"]):
        os.kill(pid, 9)
    assert (tmp_path / "postgres" / "cluster" / "postmaster.pid").exists()
    with Infra.start(tmp_path) as infra, psycopg.connect(infra.endpoints.postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchall() == [(1000,)]


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="only where /proc tells of processes")
def test_given_a_dead_databases_pid_now_belongs_to_a_stranger_then_the_next_start_works(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, free_port(), Credentials("n", "0123abcd", "4567abcd"))
    server.start()
    pid_file = server.cluster / "postmaster.pid"
    left = pid_file.read_text().splitlines()
    server.kill()
    account = postgres_account(server.cluster)
    stranger = subprocess.Popen(["/bin/sleep", "600"], cwd="/", user=account.uid if account else None)
    try:
        pid_file.write_text("\n".join([str(stranger.pid), *left[1:]]) + "\n")
        server.start()
        assert server.is_running()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        server.kill()


def test_given_an_owner_killed_at_once_restarted_again_and_again_then_each_start_works(
    tmp_path: Path, hold: Callable[[Path], Any]
) -> None:
    """The next owner comes while the servers of the last one are still ending."""
    for count in range(1, 5):
        owner = hold(tmp_path)
        found = owner.ready()
        assert found["owns"]
        with psycopg.connect(found["postgres_url"], autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS starts (x int)")
            connection.execute("INSERT INTO starts VALUES (1)")
            assert connection.execute("SELECT count(*) FROM starts").fetchall() == [(count,)]
        owner.kill()


@pytest.mark.slow
def test_given_owners_killed_while_starting_then_nothing_is_left_and_a_later_start_works(
    tmp_path: Path, hold: Callable[[Path], Any], wait_until: Wait
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    for _ in range(8):
        owner = hold(tmp_path)
        time.sleep(moments.uniform(0.1, 1.5))  # where in its start it is hit does not matter, only that it varies
        owner.kill()
    with Infra.start(tmp_path) as infra, psycopg.connect(infra.endpoints.postgres_url) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
        assert infra.nats.pid is not None
        assert infra.postgres.pid is not None
        holders = {one.pid for one in process.having_open(tmp_path / "nats" / "lock")}
        assert holders <= {infra.nats.pid}
    for name in ("nats", "postgres"):
        assert process.having_open(tmp_path / name / "lock") == []


def test_given_a_forked_child_of_a_killed_owner_then_it_does_not_keep_the_directory(
    tmp_path: Path, run_program: Callable[..., Any], seen: Callable[[int], ProcessId], wait_until: Wait
) -> None:
    owner = run_program(_FORKING_OWNER, tmp_path)
    found = owner.ready()
    servers = [seen(found["nats_pid"]), seen(found["postgres_pid"])]
    child = seen(found["child"])
    try:
        owner.kill()
        wait_until(lambda: not any(server.is_alive() for server in servers))
        with Infra.start(tmp_path):
            assert child.is_alive()
    finally:
        os.kill(child.pid, 9)


def test_given_no_parent_death_signal_then_a_watching_process_ends_the_servers(
    tmp_path: Path, run_program: Callable[..., Any], seen: Callable[[int], ProcessId], wait_until: Wait
) -> None:
    """What other systems than Linux rely on; it works on Linux too, and is tried there."""
    owner = run_program(_WATCHED_OWNER, tmp_path)
    found = owner.ready()
    servers = [seen(found["nats_pid"]), seen(found["postgres_pid"])]
    owner.kill()
    wait_until(lambda: not any(server.is_alive() for server in servers))
    with Infra.start(tmp_path):
        pass


def test_a_record_of_a_pid_that_was_given_to_another_process_is_stale(tmp_path: Path) -> None:
    with Infra.start(tmp_path) as infra:
        mine = ProcessId.current()
        assert mine.is_alive()
        assert not ProcessId(mine.pid, mine.born + "0").is_alive()
        stale = (tmp_path / "servers.json").read_text().replace(mine.born, mine.born + "0")
        (tmp_path / "servers.json").write_text(stale)
        assert status(tmp_path).state == "changing"
        infra.publish()
        assert status(tmp_path).state == "running"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only where /proc tells of processes")
def test_a_zombie_counts_as_gone(wait_until: Wait) -> None:
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {})
    try:
        wait_until(lambda: process.find(pid) is None)
        assert Path(f"/proc/{pid}").exists(), "it has not been waited for"
    finally:
        os.waitpid(pid, 0)
