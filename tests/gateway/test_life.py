"""The process: how it starts, what it says of itself, how it goes through outages, how it ends."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.gateway.process import GatewayProcess
from tests.support.system import ROOT, System, run, until


def test_given_all_is_there_then_ready_says_what_answered(shared_gateway: GatewayProcess, world: System) -> None:
    answer = shared_gateway.http.get("/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "nats": True,
        "postgres": True,
        "pods": 1,
        "partitions": world.partitions,
        "partitions_owned": world.partitions,
        "warnings": [],
    }
    assert shared_gateway.http.get("/health").json()["status"] == "ok"


def test_given_a_low_limit_of_open_files_then_a_gateway_takes_what_the_system_lets_it_have(world: System) -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most - 1, soft), most))
    try:
        with GatewayProcess(world.environment()) as gateway:
            assert resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def test_given_pods_then_capabilities_list_their_kinds_with_schemas(shared_gateway: GatewayProcess) -> None:
    kinds = {one["kind"]: one for one in shared_gateway.http.get("/capabilities").json()}
    methods = {method["name"]: method for method in kinds["counter"]["methods"]}
    assert methods["add"]["flavor"] == "command"
    assert methods["value"]["flavor"] == "query"
    assert "amount" in str(methods["add"]["arguments"])


def test_given_the_documentation_then_it_names_every_route_and_its_bodies(shared_gateway: GatewayProcess) -> None:
    document = shared_gateway.http.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/intent",
        "/runs",
        "/invoke/{function}",
        "/signal-with-start",
        "/actors/{kind}/{key}",
        "/tokens/{token}/complete",
        "/tokens/{token}/fail",
        "/runs/{run_id}",
        *[f"/runs/{{run_id}}/{what}" for what in ("signal", "update", "cancel", "terminate", "retry")],
        *[f"/runs/{{run_id}}/{what}" for what in ("timeline", "fork", "restart")],
        "/stream/{session}",
        "/log/{session}",
        "/agui",
        "/agui/{agent}",
        "/dead",
        "/dead/{letter}",
        "/dead/{letter}/replay",
        "/schedules",
        "/schedules/{name}",
        *[f"/schedules/{{name}}/{what}" for what in ("pause", "resume", "trigger", "backfill")],
        "/approvals",
        "/approvals/{id}",
        "/approvals/{id}/approve",
        "/approvals/{id}/reject",
        "/capabilities",
        "/functions",
        "/health",
        "/ready",
    }
    body = document["paths"]["/intent"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert set(fields["required"]) == {"kind", "key", "method"}
    assert {"session", "wait_s", "mode", "deadline_ms", "id", "args"} <= set(fields["properties"])
    page = shared_gateway.http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "POST /intent" in page.text
    assert "<script" not in page.text


def test_given_a_gateway_that_is_killed_then_another_one_answers_for_its_runs(world: System) -> None:
    with GatewayProcess(world.environment()) as gateway:
        submitted = gateway.http.post(
            "/runs", json={"kind": "cart", "key": "k", "method": "put", "args": {"item": "x"}}
        ).json()
        gateway.process.kill()
    with GatewayProcess(world.environment()) as other:
        assert other.http.get(submitted["links"]["self"], params={"wait_s": 30}).json()["result"] == 1


def ended_with(world: System, place: Path, grace_s: float) -> tuple[httpx.Response, httpx.Response]:
    """The answers to two requests in flight at SIGTERM: to one that ends then, and to one that does not."""
    ending, going_on = place / f"short-{grace_s}", place / f"long-{grace_s}"
    with GatewayProcess(world.environment(grace_s=grace_s)) as gateway, ThreadPoolExecutor(2) as pool:
        short, long = [
            pool.submit(
                gateway.intent, "cart", path.name, "put_slowly", {"item": "pear", "quantity": 1, "path": str(path)},
                wait_s=60, session="s",
            )
            for path in (ending, going_on)
        ]  # fmt: skip
        both_run = "SELECT count(*) FROM pending WHERE state = 'running' AND key IN (%s, %s)"
        run(until(lambda: world.sql(both_run, ending.name, going_on.name) == [(2,)]))
        gateway.process.send_signal(signal.SIGTERM)
        ending.touch()
        assert gateway.process.wait(60) == 0
        going_on.touch()
        return short.result(), long.result()


def test_given_sigterm_then_requests_in_flight_are_answered_and_long_ones_are_let_go_with_a_link(
    world: System, tmp_path: Path
) -> None:
    for grace_s in (1.0, 5.0, 25.0):
        short, long = ended_with(world, tmp_path, grace_s)
        assert long.status_code == 202
        if short.status_code != 202:
            break  # else even the short one took longer than that
    assert short.json()["result"] == 1
    with GatewayProcess(world.environment()) as other:
        ended = other.http.get(long.json()["links"]["self"], params={"wait_s": 30}).json()
        assert (ended["status"], ended["result"]) == ("done", 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--host", "0.0.0.0"], "RUNTIME_API_KEYS_FILE"), (["--port", "70000"], "does not exist")],
)
def test_given_settings_that_cannot_be_then_it_ends_with_two_and_says_why(arguments: list[str], told: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_given_a_port_that_is_taken_then_it_ends_with_two_and_says_how_to_choose_another() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = subprocess.run(
            [sys.executable, "-m", "gateway", "--port", str(taken.getsockname()[1])],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2
    assert "--port" in ended.stderr


def test_given_a_caller_that_goes_away_within_its_request_then_the_gateway_goes_on_and_logs_no_error(
    world: System,
) -> None:
    with GatewayProcess(world.environment()) as gateway:
        host, port = gateway.url.removeprefix("http://").split(":")
        for _ in range(5):
            with socket.create_connection((host, int(port))) as caller:
                head = f"POST /intent HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                caller.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
                assert gateway.http.get("/health").status_code == 200  # its head was read before that
        assert gateway.intent("counter", "gone", "add", {"amount": 1}).status_code == 200
        assert gateway.terminate() == 0
        assert gateway.process.stderr is not None
        logged = gateway.process.stderr.read()
    assert "Traceback" not in logged
