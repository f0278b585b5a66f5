"""Functions over HTTP: generators as streams, and calls that start later."""

from __future__ import annotations

import json

from tests.gateway.process import GatewayProcess, error_of


def test_given_a_generator_when_invoked_for_a_stream_then_its_values_come_in_order_and_its_number_at_the_end(
    shared_gateway: GatewayProcess,
) -> None:
    accepts = {"Accept": "application/x-ndjson"}
    with shared_gateway.http.stream("POST", "/invoke/letters", json={"text": "abcde"}, headers=accepts) as response:
        assert response.status_code == 200
        told = [json.loads(line) for line in response.iter_lines() if line.strip()]
    facts = [one["fact"] for one in told if "fact" in one]
    values = [fact["data"] for fact in facts if fact["type"] == "event" and fact["data"]["step"] == "$yield"]
    assert [value for one in values for value in one["result"]] == list("abcde")
    assert values[0]["occurrence"] == 0
    assert (facts[-1]["type"], facts[-1]["data"]) == ("result", 5)
    plain = shared_gateway.http.post("/invoke/letters", json={"text": "abc"})
    assert plain.json()["result"] == 3


def test_given_a_call_that_starts_later_when_cancelled_then_it_never_ran(shared_gateway: GatewayProcess) -> None:
    http = shared_gateway.http
    later = http.post("/invoke/letters", params={"delay_s": 3600}, json={"text": "abc"})
    assert later.status_code == 202
    run = later.json()["links"]["self"]
    assert http.post(f"{run}/cancel", json={}).status_code == 200
    ended = http.get(run, params={"wait_s": 20}).json()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "cancelled")
    body = {"kind": "letters", "key": "k", "method": "run", "args": {"text": "a"}}
    assert http.post("/runs", json=body | {"delay_s": 3600}).status_code == 202
    assert error_of(http.post("/runs", json=body | {"delay_s": -1})) == (400, "bad_request")
    assert error_of(http.post("/runs", json=body | {"delay_s": 1, "start_at_ms": 1})) == (400, "bad_request")
