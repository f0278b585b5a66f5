"""Dead letters over HTTP."""

from __future__ import annotations

from typing import Any

from tests.gateway.process import GatewayProcess, error_of
from tests.support.system import System, run, until


def park(gateway: GatewayProcess, key: str) -> dict[str, Any]:
    """A command that was just parked, as GET /dead shows it."""
    assert error_of(gateway.intent("counter", key, "boom", id=f"boom-{key}")) == (500, "handler_failed")
    (letter,) = gateway.http.get("/dead", params={"kind": "counter", "key": key}).json()["letters"]
    found: dict[str, Any] = letter
    return found


def test_given_parked_commands_then_they_are_listed_in_pages_and_shown(shared_gateway: GatewayProcess) -> None:
    http = shared_gateway.http
    letters = [park(shared_gateway, f"page-{number}") for number in range(3)]
    page = http.get("/dead", params={"after": letters[0]["id"] - 1, "limit": 2}).json()
    assert page == {"letters": letters[:2], "more": True}
    page = http.get("/dead", params={"after": letters[1]["id"], "limit": 2}).json()
    assert page == {"letters": letters[2:], "more": False}
    assert http.get("/dead", params={"kind": "cart"}).json()["letters"] == []
    shown = http.get(f"/dead/{letters[0]['id']}").json()
    assert {name: shown[name] for name in letters[0]} == letters[0]
    assert (shown["method"], shown["command_id"], shown["body_bytes"]) == ("boom", "boom-page-0", 0)
    assert "Troupe-Id" in shown["headers"]
    assert error_of(http.get("/dead/999999")) == (404, "not_found")


def test_given_a_parked_command_when_it_is_replayed_then_it_runs_again_in_place(
    shared_gateway: GatewayProcess, world: System
) -> None:
    http = shared_gateway.http
    letter = park(shared_gateway, "again")
    answer = http.post(f"/dead/{letter['id']}/replay", json={"reason": "mended"})
    assert answer.status_code == 200
    assert answer.json() == {"id": letter["id"], "status": "replayed", "kind": "counter", "key": "again", "seq": 2}

    async def parked_again() -> None:
        query = {"kind": "counter", "key": "again"}
        await until(lambda: len(http.get("/dead", params=query).json()["letters"]) == 1)

    run(parked_again())
    events = world.sql("SELECT type, payload->>'reason' FROM log WHERE key = 'again' ORDER BY seq")
    assert events == [("troupe.parked", None), ("troupe.replayed", "mended"), ("troupe.parked", None)]
    assert error_of(http.post(f"/dead/{letter['id']}/replay", json={})) == (409, "rejected")
    assert error_of(http.delete(f"/dead/{letter['id']}")) == (409, "rejected")


def test_given_a_parked_command_when_it_is_dropped_then_it_is_settled_for_good(shared_gateway: GatewayProcess) -> None:
    http = shared_gateway.http
    letter = park(shared_gateway, "dropped")
    assert http.delete(f"/dead/{letter['id']}").json()["status"] == "dropped"
    query = {"kind": "counter", "key": "dropped"}
    assert http.get("/dead", params=query).json()["letters"] == []
    (dropped,) = http.get("/dead", params=query | {"status": "dropped"}).json()["letters"]
    assert (dropped["id"], dropped["status"]) == (letter["id"], "dropped")
    assert error_of(http.post(f"/dead/{letter['id']}/replay", json={})) == (409, "rejected")
    assert error_of(http.delete("/dead/999999")) == (404, "not_found")


def test_given_a_page_elsewhere_that_posts_a_form_then_nothing_is_replayed(shared_gateway: GatewayProcess) -> None:
    letter = park(shared_gateway, "form")
    for content_type in (None, "text/plain", "application/x-www-form-urlencoded"):
        answer = shared_gateway.send(f"/dead/{letter['id']}/replay", b"", content_type)
        assert error_of(answer) == (400, "bad_request")
    assert error_of(shared_gateway.http.post(f"/dead/{letter['id']}/replay", json={"why": 1})) == (400, "bad_request")
    assert shared_gateway.http.get(f"/dead/{letter['id']}").json()["status"] == "parked"


def test_given_a_dead_letter_of_a_kind_that_nobody_serves_then_it_can_be_dropped_but_not_replayed(
    shared_gateway: GatewayProcess, world: System
) -> None:
    http = shared_gateway.http
    ((number,),) = world.sql(
        "INSERT INTO dead_letters (actor, tenant, kind, key, method, command_id, headers, body, code, error, attempts) "
        "VALUES (gen_random_uuid(), 'default', 'cuonter', 'k', 'add', 'slip', '{}', '', 'unknown_kind', 'slip', 0) "
        "RETURNING id"
    )
    assert error_of(http.post(f"/dead/{number}/replay", json={})) == (404, "unknown_kind")
    assert http.delete(f"/dead/{number}").json()["status"] == "dropped"
    assert world.sql("SELECT status FROM dead_letters WHERE id = %s", number) == [("dropped",)]
    assert error_of(http.delete(f"/dead/{number}")) == (409, "rejected")
