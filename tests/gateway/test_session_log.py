"""A session's log over HTTP: whole, from a place on, and refused for what is no place."""

from __future__ import annotations

import json

import pytest

from gateway.sessions import PAGE
from tests.gateway.process import GatewayProcess, error_of


def lines(gateway: GatewayProcess, path: str) -> list[dict[str, object]]:
    answer = gateway.http.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("session", ["logged", "logged/with-a-slash", "geloggt-ü"])
def test_given_a_session_then_its_events_are_read_from_the_log_and_those_since_a_place(
    shared_gateway: GatewayProcess, session: str
) -> None:
    for amount in (1, 2, 3):
        assert shared_gateway.intent("counter", session, "add", {"amount": amount}, session=session).status_code == 200
    assert shared_gateway.intent("counter", session, "add", {"amount": 4}, session="another").status_code == 200
    whole = lines(shared_gateway, f"/log/{session}")
    assert [fact["data"] for fact in whole] == [{"amount": 1}, {"amount": 2}, {"amount": 3}]
    assert lines(shared_gateway, f"/log/{session}?since={whole[1]['position']}") == whole[2:]
    assert lines(shared_gateway, f"/log/{session}?since={whole[2]['position']}") == []


def test_given_more_events_than_a_page_has_then_all_come_once(shared_gateway: GatewayProcess) -> None:
    for _ in range(PAGE):
        sent = shared_gateway.intent("counter", "many", "add", {"amount": 1}, session="many", mode="accept")
        assert sent.status_code == 202
    assert shared_gateway.intent("counter", "many", "add", {"amount": 1}, session="many").status_code == 200
    found = lines(shared_gateway, "/log/many")
    assert len(found) == PAGE + 1
    assert len({fact["position"] for fact in found}) == len(found)


@pytest.mark.parametrize("since", ["x", "1", "1:", ":1", "-1:2", "1:2:3", "1" * 40])
def test_given_what_is_no_place_in_the_log_then_it_is_refused(shared_gateway: GatewayProcess, since: str) -> None:
    answer = shared_gateway.http.get("/log/logged", params={"since": since})
    assert error_of(answer) == (400, "bad_request")
