"""`actors up`, `dev`, `gateway up` and `infra`: commands that run other processes, and what is left of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from schemas.wire import Intent
from tests.cli.command import TIMEOUT_S, Running, Runtime, is_alive
from tests.support.system import KINDS, System


def pods(running: Running, count: int) -> list[dict[str, Any]]:
    """The first so many pods that came up."""
    found: list[dict[str, Any]] = running.until(
        lambda one: len(up := [n for line in one.out if "pod" in (n := json.loads(line))]) >= count and up[:count]
    )
    return found


@pytest.fixture
def here(system: System, tmp_path: Path) -> Runtime:
    """`runtime …` for an empty system, in an empty directory."""
    return Runtime(system.environment(), tmp_path)


def gone(pids: list[int]) -> None:
    """Waits until none of these processes runs."""
    end = time.monotonic() + TIMEOUT_S
    while left := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < end, f"{left} still run"
        time.sleep(0.02)


def test_given_pods_when_one_is_killed_then_it_is_started_again_and_sigterm_ends_all_in_order(
    here: Runtime, system: System
) -> None:
    with here.start("actors", "up", KINDS, "--pods", "2", "--json") as up:
        first = pods(up, 2)
        assert {one["name"] for one in first} == {"pod1", "pod2"}
        os.kill(first[0]["pid"], signal.SIGKILL)
        again = pods(up, 3)[2]
        assert again["name"] == first[0]["name"]
        up.until(lambda up: any("ended with SIGKILL; it is started again" in line for line in up.err))
        here.ok("actors", "call", "counter", "a", "add", "amount=1")
        assert up.end() == 0
        gone([one["pid"] for one in (*first, again)])
    # Those that were ended in order have said goodbye; the one that was killed could not.
    killed = {(first[0]["pod"],)}
    assert set(system.sql("SELECT id FROM pods")) <= killed
    assert set(system.sql("SELECT owner FROM partitions WHERE owner IS NOT NULL")) <= killed


def test_given_pods_when_their_parent_is_killed_then_none_is_left(here: Runtime) -> None:
    with here.start("actors", "up", KINDS, "--pods", "2", "--json") as up:
        pids = [one["pid"] for one in pods(up, 2)]
        assert all(is_alive(pid) for pid in pids)
        up.process.kill()
        gone(pids)


def test_given_a_module_that_cannot_work_then_the_reason_is_the_error(here: Runtime, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "schemas.py").write_text("")
    assert "defines no entity" in here.fails(2, "actors", "up", "empty")
    assert "there is no module 'missing'" in here.fails(2, "actors", "up", "missing")
    assert "the name of Troupe's own package" in here.fails(2, "actors", "up", "schemas")


def test_given_a_project_when_its_code_changes_then_dev_runs_the_new_code(here: Runtime, tmp_path: Path) -> None:
    here.ok("init")
    bank = tmp_path / "bank.py"
    code = bank.read_text()
    with here.start("dev", "bank", "--port", "0", "--json") as dev:
        pods(dev, 1)
        url = dev.until(lambda dev: dev.news("gateway"))[0]["url"]
        assert urllib.request.urlopen(f"{url}/health").status == 200
        here.ok("actors", "call", "account", "a", "deposit", "amount=1")
        bank.write_text(code + "\nthis is no Python\n")
        dev.until(lambda dev: any("waits for a change" in line for line in dev.err))
        bank.write_text(code.replace("return Deposited(command.amount)", "return Deposited(100 * command.amount)"))
        pods(dev, 2)
        here.ok("actors", "call", "account", "a", "deposit", "amount=1")
        assert here.ok("actors", "call", "account", "a", "balance").out == "101\n"
        assert dev.end(signal.SIGINT) == 0


def test_given_a_pod_when_an_intake_is_run_beside_it_then_intents_become_commands(
    here: Runtime, system: System
) -> None:
    async def say() -> None:
        async with system.client() as client:
            await client.intent("s", Intent("counter", "said", "add", {"amount": 7}))

    system.start_pod()
    with here.start("intake", "up") as intake:
        intake.until(lambda intake: intake.out == ["intake is up"])
        asyncio.run(say())
        tailed = here.ok("actors", "tail", "counter", "said", "--count", "1", "--json").json
        assert tailed["payload"] == {"amount": 7}
        assert intake.end() == 0


def test_given_a_broker_when_a_gateway_is_run_alone_then_it_needs_nothing_else(here: Runtime) -> None:
    del here.environment["RUNTIME_POSTGRES_URL"]
    with here.start("gateway", "up", "--port", "0") as gateway:
        said = gateway.until(lambda gateway: gateway.out)[0]
        assert said.startswith("gateway listens on http://127.0.0.1:")
        assert urllib.request.urlopen(f"{said.rpartition(' ')[2]}/health").status == 200
        assert gateway.end() == 0


def test_given_no_servers_when_infra_is_started_then_every_command_finds_them_until_it_is_ended(
    tmp_path: Path,
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNTIME_")}
    runtime = Runtime(environment | {"RUNTIME_DATA": str(tmp_path / "data")}, tmp_path)
    ended = runtime("infra", "status", "--json")
    assert (ended.code, ended.json["state"]) == (5, "stopped")
    assert runtime.ok("infra", "down").out == "nothing ran\n"
    up = runtime.ok("infra", "up", "--json").json
    try:
        assert up["ready_in_s"] > 0
        assert "Ready in " in runtime.ok("infra", "up").out
        assert runtime.ok("infra", "status", "--json").json["owner_pid"] == up["owner_pid"]
        assert "accepts connections" in runtime.ok("infra", "status").out
        assert "export RUNTIME_NATS_URL=nats://troupe:" in runtime.ok("infra", "up", "--env").out
        assert runtime.ok("db", "migrate").out.startswith("applied 0001_log\n")
        with runtime.start("actors", "up", KINDS, "--json") as pod:
            pods(pod, 1)
            assert pod.news("servers") == []
            assert runtime.ok("actors", "call", "counter", "a", "add", "amount=1").out == "1\n"
            assert pod.end() == 0
    finally:
        assert runtime.ok("infra", "down", "--json").json == {"ended": True, "owner_pid": up["owner_pid"]}
    gone([up["owner_pid"], up["nats_pid"], up["postgres_pid"]])
    # And with none that run, `actors up` brings its own, which end with it.
    with runtime.start("actors", "up", KINDS, "--json") as pod:
        pods(pod, 1)
        assert len(pod.news("servers")) == 1
        assert runtime.ok("actors", "call", "counter", "a", "value").out == "1\n"
        assert pod.end() == 0
    assert runtime("infra", "status").out.startswith("stopped")
