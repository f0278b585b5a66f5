"""NATS or Postgres is gone for a while, and HTTP callers go on: they wait or get 503, and everything resumes by itself.

A whole minute: OUTAGE_S=60 python -m pytest tests/gateway/test_server_outages.py
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from runtime.infra import Infra
from tests.gateway.process import Event, GatewayProcess, error_of
from tests.support.system import System

pytestmark = pytest.mark.slow

AWAY_S = float(os.environ.get("OUTAGE_S", "3"))
CALLERS = 8
PAUSE_S = 0.05
PATIENCE_S = 120.0
"""Beyond the outage itself, until a call must have been answered."""


def answered(gateway: GatewayProcess, body: dict[str, Any]) -> tuple[Any, int]:
    """Asks until the command is answered; gives its result, and how often it was put off by a 202 or a 503."""
    put_off = 0
    end = time.monotonic() + AWAY_S + PATIENCE_S
    while (answer := gateway.http.post("/intent", json=body)).status_code != 200:
        assert time.monotonic() < end, f"{body} was not answered: {answer.status_code} {answer.text}"
        put_off += 1
        if answer.status_code != 202:
            assert_asked_to_come_again(answer)
        time.sleep(PAUSE_S)
    return answer.json()["result"], put_off


def assert_asked_to_come_again(answer: httpx.Response) -> None:
    """The only failure that a caller may see while a server is away."""
    assert error_of(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


class Caller:
    """Adds one to its key, again and again, asking each time with the same id until that command is answered."""

    def __init__(self, gateway: GatewayProcess, key: str, stop: threading.Event) -> None:
        self._gateway = gateway
        self._key = key
        self._stop = stop
        self.answers: list[int] = []
        self.put_off = 0

    def run(self) -> None:
        """Calls until it is told to stop."""
        body = {"kind": "counter", "key": self._key, "method": "add", "args": {"amount": 1}, "wait_s": 1.0}
        while not self._stop.is_set():
            result, put_off = answered(self._gateway, {**body, "id": f"{self._key}-{len(self.answers) + 1}"})
            self.answers.append(result)
            self.put_off += put_off


@pytest.mark.parametrize("name", ["nats", "postgres"])
def test_given_a_server_gone_for_a_while_then_http_callers_wait_or_get_503_and_everything_resumes_by_itself(
    infra: Infra, own_system: System, name: str
) -> None:
    server = infra.nats if name == "nats" else infra.postgres
    pod = own_system.start_pod()
    stop = threading.Event()
    with GatewayProcess(own_system.environment()) as gateway, ThreadPoolExecutor(2 * CALLERS) as pool:
        callers = [Caller(gateway, f"k{number}", stop) for number in range(CALLERS)]
        try:
            with gateway.stream("/stream/watched") as facts:
                assert next(facts).name == "comment"
                running = [pool.submit(caller.run) for caller in callers]
                _until_all_called(callers, running, 3)
                server.kill()
                gone_at = time.monotonic()
                patient = [pool.submit(ask, gateway.http) for ask in (_submit, _list_kinds, _open_stream)]
                run = _see_what_is_said_meanwhile(gateway, name)
                time.sleep(max(0.0, gone_at + AWAY_S - time.monotonic()))
                server.start()
                _until_all_called(callers, running, 3)
                assert answered(gateway, run)[0] == 5
                seen = {"kind": "counter", "key": "seen", "method": "add", "args": {"amount": 7}, "session": "watched"}
                answered(gateway, {**seen, "id": "seen"})
                assert _first_fact(facts).data["data"] == {"amount": 7}
        finally:
            stop.set()
        for one in (*running, *patient):
            one.result()
        assert gateway.http.get("/ready").status_code == 200
        assert gateway.process.poll() is None
        assert pod.process.poll() is None, "the pod should have lived through it"
    assert sum(caller.put_off for caller in callers) > 0, "nobody noticed that the server was gone"
    for caller in callers:
        assert caller.answers == list(range(1, len(caller.answers) + 1))
    counted = dict(own_system.sql("SELECT key, count(*) FROM log WHERE key LIKE 'k%' GROUP BY key"))
    assert counted == {f"k{number}": len(caller.answers) for number, caller in enumerate(callers)}
    assert own_system.sql("SELECT count(*) FROM dead_letters") == [(0,)]


def _see_what_is_said_meanwhile(gateway: GatewayProcess, name: str) -> dict[str, Any]:
    """Asks everything while the server is away; gives an intent's body, that may have been stored or not."""
    body = {"kind": "counter", "key": "once", "method": "add", "args": {"amount": 5}, "id": "meanwhile", "wait_s": 0.5}
    answer = gateway.http.post("/intent", json=body)
    if name == "nats":
        assert_asked_to_come_again(answer)
    else:  # the broker has it, and that is what 202 says
        assert answer.status_code == 202
        assert_asked_to_come_again(gateway.http.get(answer.json()["links"]["self"]))
    assert_asked_to_come_again(gateway.http.get("/ready"))
    assert gateway.http.get("/health").status_code == 200
    return body


def _submit(http: httpx.Client) -> None:
    body = {"kind": "counter", "key": "submitted", "method": "add", "args": {"amount": 1}}
    _done_or_503(http.post("/runs", json=body), 202)


def _list_kinds(http: httpx.Client) -> None:
    _done_or_503(http.get("/capabilities"), 200)


def _open_stream(http: httpx.Client) -> None:
    with http.stream("GET", "/stream/opened") as answer:
        if answer.status_code != 200:
            answer.read()
            _done_or_503(answer, 200)


def _done_or_503(answer: httpx.Response, status: int) -> None:
    """What has waited for the server in vain is told when to ask again."""
    if answer.status_code != status:
        assert_asked_to_come_again(answer)


def _first_fact(facts: Iterator[Event]) -> Event:
    return next(event for event in facts if event.name == "message")


def _until_all_called(callers: list[Caller], running: list[Future[None]], times: int) -> None:
    """Waits until every caller has had so many more answers, or one has failed."""
    seen = [len(caller.answers) for caller in callers]
    end = time.monotonic() + PATIENCE_S
    while any(len(caller.answers) < before + times for caller, before in zip(callers, seen, strict=True)):
        for one in running:
            if one.done():
                one.result()
        assert time.monotonic() < end, "the calls did not go on"
        time.sleep(PAUSE_S)
