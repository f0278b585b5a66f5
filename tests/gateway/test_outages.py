"""What a gateway does while the broker or the pods are away, and after."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client.nats_process import Broker
from tests.gateway.process import GatewayProcess, error_of
from tests.support.system import System

pytestmark = pytest.mark.slow


def test_given_no_broker_then_the_gateway_starts_says_so_and_goes_on_when_there_is_one(
    tmp_path: Path, system: System
) -> None:
    broker = Broker(tmp_path)
    with GatewayProcess(system.environment(nats_url=broker.url)) as gateway:
        assert gateway.http.get("/health").status_code == 200
        ready = gateway.http.get("/ready")
        assert error_of(ready) == (503, "unavailable")
        assert ready.headers["retry-after"] == "1"
        assert error_of(gateway.intent("counter", "a", "add", {"amount": 1})) == (503, "unavailable")
        broker.start()
        try:
            system.start_pod(nats_url=broker.url)
            assert gateway.intent("counter", "a", "add", {"amount": 1}, wait_s=60).json()["result"] == 1
        finally:
            broker.stop()


def test_given_no_pod_then_a_command_is_stored_and_done_when_one_comes(system: System) -> None:
    system.start_pod().kill()  # it made the streams
    with GatewayProcess(system.environment()) as gateway:
        ready = gateway.http.get("/ready")
        assert error_of(ready) == (503, "unavailable")
        assert "no pod answered" in ready.json()["error"]["message"]
        answer = gateway.intent("counter", "a", "add", {"amount": 5}, wait_s=0.2)
        assert answer.status_code == 202
        assert error_of(gateway.http.get(answer.json()["links"]["self"])) == (503, "unavailable")
        system.start_pod()
        run = gateway.http.get(answer.json()["links"]["self"], params={"wait_s": 60}).json()
        assert (run["status"], run["result"]) == ("done", 5)


def test_given_the_broker_is_away_for_a_while_then_requests_wait_and_none_is_lost_or_doubled(
    tmp_path: Path, system: System
) -> None:
    broker = Broker(tmp_path)
    broker.start()
    try:
        system.start_pod(nats_url=broker.url)
        with GatewayProcess(system.environment(nats_url=broker.url)) as gateway:
            assert gateway.intent("counter", "a", "add", {"amount": 1}).json()["result"] == 1
            broker.kill()
            restart = threading.Timer(1.5, broker.start)
            restart.start()
            with ThreadPoolExecutor(8) as pool:
                answers = list(
                    pool.map(lambda _: gateway.intent("counter", "a", "add", {"amount": 1}, wait_s=60), range(8))
                )
            restart.join()
            assert [answer.status_code for answer in answers] == [200] * 8
            assert sorted(answer.json()["result"] for answer in answers) == list(range(2, 10))
            with gateway.stream("/stream/after") as events:
                next(events)
                answer = gateway.intent("counter", "a", "add", {"amount": 1}, session="after")
                assert answer.json()["result"] == 10
                assert next(event for event in events if event.name != "comment").data["data"] == {"amount": 1}
    finally:
        broker.stop()
