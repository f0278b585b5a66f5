"""Runs over HTTP: listed, described, terminated and gone on with."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from tests.gateway.process import GatewayProcess, error_of
from tests.support.system import run, until

NOBODY = "ffffffff-ffff-ffff-ffff-ffffffffffff"


def cursor(since: str, actor: str) -> str:
    """A cursor that no page has ended with."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((since, actor, "x"))).rstrip(b"=").decode()


def whats(described: dict[str, Any]) -> list[str]:
    """What happened in a run, in order."""
    return [moment["what"] for moment in described["timeline"]]


def test_given_runs_when_they_are_listed_over_http_then_each_is_there_in_its_state(
    shared_gateway: GatewayProcess,
) -> None:
    http = shared_gateway.http
    body = {"kind": "clerk", "method": "serve", "tags": ["listed"], "run_timeout_s": 3600}
    first, second = (http.post("/runs", json=body | {"key": key}).json()["run_id"] for key in ("one", "two"))
    assert http.post(f"/runs/{first}/signal", json={"name": "limit", "value": 10}).status_code == 200
    run(until(lambda: whats(http.get(f"/runs/{first}/timeline").json()) == ["signal", "step"]))
    assert http.post(f"/runs/{first}/update", json={"name": "take", "value": 7}).status_code == 200
    assert http.post(f"/runs/{second}/signal", json={"name": "limit", "value": "no number"}).status_code == 200
    assert error_of(http.post(f"/runs/{first}/retry", json={})) == (409, "rejected")
    assert http.get(f"/runs/{second}", params={"wait_s": 60}).json()["status"] == "failed"
    listed = http.get("/runs", params={"tag": "listed"}).json()
    assert {one["run_id"]: one["status"] for one in listed["runs"]} == {first: "running", second: "parked"}
    page = http.get("/runs", params={"tag": "listed", "limit": 1}).json()
    rest = http.get("/runs", params={"tag": "listed", "limit": 1, "cursor": page["cursor"]}).json()
    assert {one["run_id"] for one in page["runs"] + rest["runs"]} == {first, second}
    parked = http.get("/runs?tag=listed&status=parked&status=failed").json()["runs"]
    assert [one["run_id"] for one in parked] == [second]
    described = http.get(f"/runs/{first}/timeline").json()
    assert (described["status"], described["tags"]) == ("running", ["listed"])
    assert whats(described) == ["signal", "step", "update", "step", "step"]
    assert http.post(f"/runs/{second}/retry", json={"reason": "again"}).status_code == 200
    forked = http.post(f"/runs/{first}/fork", json={"at_step": 2, "key": "fork", "id": "fork"})
    assert (forked.status_code, forked.json()["status"]) == (202, "accepted")
    fork = forked.json()["run_id"]
    assert http.post(f"/runs/{fork}/update", json={"name": "take", "value": 9}).json()["result"] == {"taken": 9}
    assert error_of(http.post(f"/runs/{first}/fork", json={"at_step": 99})) == (400, "bad_request")
    for id, code in (("a b", (400, "bad_request")), ("fork", (409, "id_reused"))):
        assert error_of(http.post(f"/runs/{fork}/restart", json={"from_step": 1, "id": id})) == code
    assert http.get(f"/runs/{fork}").json()["status"] == "accepted", "it is ended only when another one can begin"
    restarted = http.post(f"/runs/{fork}/restart", json={"from_step": 1, "id": "restarted"}).json()["run_id"]
    assert http.get(f"/runs/{fork}", params={"wait_s": 60}).json()["error"]["code"] == "terminated"
    assert http.get(f"/runs/{restarted}/timeline").json()["id"] == "restarted"
    assert http.post(f"/runs/{first}/terminate", json={"reason": "enough"}).status_code == 200
    ended = http.get(f"/runs/{first}", params={"wait_s": 60}).json()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "terminated")
    assert error_of(http.post(f"/runs/{first}/terminate", json={})) == (409, "not_running")
    assert error_of(http.get("/runs", params={"status": "asleep"})) == (400, "bad_request")
    for place in ("!", cursor("2026-11-21", "f" * 36), cursor("2026-W01-1", NOBODY), cursor("2026-11-21", NOBODY)):
        assert error_of(http.get("/runs", params={"cursor": place})) == (400, "bad_request")
    wrong = http.post("/runs", json={"kind": "clerk", "key": "x", "method": "serve", "tags": ["a b"]})
    assert error_of(wrong) == (400, "bad_request")
