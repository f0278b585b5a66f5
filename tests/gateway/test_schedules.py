"""Schedules over HTTP."""

from __future__ import annotations

from tests.gateway.process import GatewayProcess, error_of


def test_given_a_schedule_over_http_then_it_is_made_looked_at_held_started_and_ended(
    shared_gateway: GatewayProcess,
) -> None:
    http = shared_gateway.http
    assert error_of(http.get("/schedules/nightly")) == (404, "not_found")
    body = {"kind": "counter", "method": "add", "key": "scheduled", "args": {"amount": 2}, "cron": "0 3 * * *"}
    made = http.put("/schedules/nightly", json=body | {"timezone": "Europe/Berlin"})
    assert (made.status_code, made.json()["name"], made.json()["paused"]) == (200, "nightly", False)
    assert error_of(http.put("/schedules/nightly", json=body)) == (409, "rejected")
    assert http.put("/schedules/nightly", json=body | {"replace": True}).json()["spec"].get("timezone") is None
    assert error_of(http.put("/schedules/odd", json=body | {"cron": "61 * * * *"})) == (409, "rejected")
    assert error_of(http.put("/schedules/odd", json=body | {"crom": "0 3 * * *"})) == (400, "bad_request")
    assert error_of(http.put("/schedules/odd", json=body | {"kind": "nobody"})) == (404, "unknown_kind")
    paused = http.post("/schedules/nightly/pause", json={"note": "holidays"}).json()
    assert (paused["paused"], paused["note"], paused["next"]) == (True, "holidays", [])
    runs = {http.post("/schedules/nightly/trigger", json={"id": "once"}).json()["run"] for _ in range(2)}
    assert len(runs) == 1
    assert http.post("/schedules/nightly/resume", json={}).json()["paused"] is False
    past = {"start": 1_767_225_600.0, "end": 1_767_398_400.0, "overlap": "allow"}  # the first two days of 2026
    assert http.post("/schedules/nightly/backfill", json=past).status_code == 200
    assert [one["name"] for one in http.get("/schedules").json()["schedules"]] == ["nightly"]
    assert http.delete("/schedules/nightly").status_code == 200
    assert http.get("/schedules").json() == {"schedules": [], "after": None}
