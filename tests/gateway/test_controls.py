"""Signals, updates and cancellation over HTTP."""

from __future__ import annotations

from tests.gateway.process import GatewayProcess, error_of


def test_given_a_running_handler_when_it_is_told_over_http_then_it_answers_and_ends(
    shared_gateway: GatewayProcess,
) -> None:
    http = shared_gateway.http
    started = http.post("/runs", json={"kind": "clerk", "key": "http", "method": "serve"}).json()
    run = f"/runs/{started['run_id']}"
    said = http.post(f"{run}/signal", json={"name": "limit", "value": 10})
    assert (said.status_code, said.json()) == (200, {"run_id": started["run_id"], "result": None})
    for _ in range(2):
        taken = http.post(f"{run}/update", json={"name": "take", "value": 7, "id": "once"})
        assert (taken.status_code, taken.json()["result"]) == (200, {"taken": 7})
    assert error_of(http.post(f"{run}/update", json={"name": "take", "value": 11})) == (409, "rejected")
    assert http.get(run).json()["status"] == "accepted"
    assert http.post(f"{run}/cancel", json={}).status_code == 200
    ended = http.get(run, params={"wait_s": 20}).json()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "cancelled")
    assert error_of(http.post(f"{run}/cancel", json={"reason": "again"})) == (409, "not_running")
    assert error_of(http.post(f"{run}/signal", json={"name": "limit"})) == (409, "not_running")


def test_given_nonsense_then_it_is_a_clear_error(shared_gateway: GatewayProcess) -> None:
    http = shared_gateway.http
    started = http.post("/runs", json={"kind": "clerk", "key": "odd", "method": "serve"}).json()
    run = f"/runs/{started['run_id']}"
    assert error_of(http.post(f"{run}/signal", json={"value": 1})) == (400, "bad_request")
    assert error_of(http.post(f"{run}/signal", json={"name": ""})) == (400, "invalid_arguments")
    assert error_of(http.post(f"{run}/signal", content=b"{")) == (400, "bad_request")
    assert error_of(http.post(f"{run}/cancel", json={"why": 1})) == (400, "bad_request")
    assert error_of(http.post("/runs/nonsense/cancel")) == (400, "bad_request")
    assert http.post(f"{run}/cancel", json={"reason": "done"}).status_code == 200
