"""What cannot be understood gets a clear error in the one shape, with the right status, and does no harm."""

from __future__ import annotations

import json

import pytest

from tests.gateway.process import GatewayProcess, error_of
from tests.support.system import System

GOOD = {"kind": "counter", "key": "bad-input", "method": "add", "args": {"amount": 1}}


def bad(**changes: object) -> bytes:
    """GOOD with something else in it."""
    return json.dumps({**GOOD, **changes}).encode()


@pytest.mark.parametrize("path", ["/intent", "/runs"])
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "empty"),
        (b"   ", "empty"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`"),
        (b'"text"', "Expected `object`"),
        (b"{", "not valid JSON"),
        (b"{}", "missing required field"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, ""),
        (bad(kind=1), "Expected `str`"),
        (bad(tenant="other"), "unknown field `tenant`"),
        (bad(principal="root"), "unknown field `principal`"),
        (json.dumps(GOOD).replace("1}", "NaN}").encode(), "not valid JSON"),
        (json.dumps(GOOD).replace("1}", "1e999}").encode(), "not valid JSON"),
        (bad(args={"amount": "\ud800"}), "not valid JSON"),
        (bad(id="two words"), "printable"),
        (bad(id=""), "printable"),
        (bad(id="http-0-mine"), "must not begin with"),
        (bad(deadline_ms=-1), "`int` >= 0"),
        (bad(deadline_ms="soon"), "Expected `int"),
    ],
)
def test_given_a_body_that_cannot_be_read_then_it_is_a_bad_request(
    shared_gateway: GatewayProcess, path: str, body: bytes, told: str
) -> None:
    answer = shared_gateway.send(path, body)
    assert error_of(answer) == (400, "bad_request")
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "code", "status"),
    [
        ({"key": ""}, "bad_address", 400),
        ({"key": "k" * 1000}, "bad_address", 400),
        ({"key": "nul\0"}, "bad_address", 400),
        ({"kind": "no such kind"}, "unknown_kind", 404),
        ({"kind": "cuonter"}, "unknown_kind", 404),
        ({"method": "ad"}, "unknown_method", 404),
        ({"method": "a d"}, "bad_address", 400),
        ({"args": {}}, "invalid_arguments", 400),
        ({"args": [1]}, "invalid_arguments", 400),
        ({"args": {"amount": 1.5}}, "invalid_arguments", 400),
        ({"session": ""}, "bad_address", 400),
        ({"session": " s"}, "bad_address", 400),
        ({"wait_s": -1}, "bad_request", 400),
        ({"wait_s": 61}, "bad_request", 400),
        ({"mode": "later"}, "bad_request", 400),
    ],
)
def test_given_a_command_that_cannot_be_done_then_the_error_says_why(
    shared_gateway: GatewayProcess, changes: dict[str, object], code: str, status: int
) -> None:
    assert error_of(shared_gateway.send("/intent", bad(**changes))) == (status, code)


def test_given_a_run_of_a_method_that_is_not_there_then_it_is_not_accepted_and_the_methods_are_named(
    shared_gateway: GatewayProcess,
) -> None:
    answer = shared_gateway.send("/runs", bad(method="ad"))
    assert error_of(answer) == (404, "unknown_method")
    assert "add, " in answer.json()["error"]["message"]


def test_given_a_wrong_field_then_the_path_names_it(shared_gateway: GatewayProcess) -> None:
    assert shared_gateway.send("/intent", bad(key=3)).json()["error"]["path"] == "$.key"


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""]
)
def test_given_a_body_that_is_not_declared_as_json_then_it_is_refused_with_what_to_send(
    shared_gateway: GatewayProcess, content_type: str | None
) -> None:
    answer = shared_gateway.send("/intent", bad(), content_type)
    assert error_of(answer) == (400, "bad_request")
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


def test_given_json_with_a_charset_then_it_is_read(shared_gateway: GatewayProcess) -> None:
    assert shared_gateway.send("/intent", bad(), "application/json; charset=utf-8").status_code == 200


@pytest.mark.parametrize("key", ["two words", "k" * 129, "é"])
def test_given_an_idempotency_key_that_is_no_id_then_it_is_refused(shared_gateway: GatewayProcess, key: str) -> None:
    answer = shared_gateway.http.post("/intent", json=GOOD, headers={b"Idempotency-Key": key.encode()})
    assert error_of(answer) == (400, "bad_request")


def test_given_an_id_and_an_idempotency_key_then_one_of_them_is_too_many(shared_gateway: GatewayProcess) -> None:
    answer = shared_gateway.http.post("/intent", json={**GOOD, "id": "a"}, headers={"Idempotency-Key": "b"})
    assert error_of(answer) == (400, "bad_request")


def test_given_a_body_beyond_the_limit_then_it_is_too_large_with_and_without_a_length(
    world: System,
) -> None:
    with GatewayProcess(world.environment(max_body_bytes=1000)) as gateway:
        large = bad(args={"amount": 1, "note": "x" * 2000})
        assert error_of(gateway.send("/intent", large)) == (413, "too_large")
        chunks = iter([large[:500], large[500:1500], large[1500:]])
        sent = gateway.http.post("/intent", content=chunks, headers={"content-type": "application/json"})
        assert error_of(sent) == (413, "too_large")
        assert gateway.send("/intent", bad()).status_code == 200


@pytest.mark.parametrize("run_id", ["x", "%00", "a" * 5000])
def test_given_what_is_no_run_id_then_it_is_a_bad_request(shared_gateway: GatewayProcess, run_id: str) -> None:
    assert error_of(shared_gateway.http.get(f"/runs/{run_id}")) == (400, "bad_request")


@pytest.mark.parametrize(
    "path",
    ["/runs/x?wait_s=-1", "/runs/x?wait_s=soon", "/stream/s?since=abc", "/stream/s?since=-1", "/stream/s?format=xml",
     "/dead?after=-1", "/dead?limit=0", "/dead?limit=9999", "/dead?status=lost", "/dead?kind=a%00b", "/dead/0",
     f"/dead/{2**63}"],
)  # fmt: skip
def test_given_a_parameter_that_cannot_be_read_then_it_is_a_bad_request(
    shared_gateway: GatewayProcess, path: str
) -> None:
    assert error_of(shared_gateway.http.get(path)) == (400, "bad_request")


def test_given_a_path_that_is_not_there_then_it_is_not_found_in_the_same_shape(shared_gateway: GatewayProcess) -> None:
    assert error_of(shared_gateway.http.get("/nothing/here")) == (404, "not_found")
    assert error_of(shared_gateway.http.post("/", json={})) == (404, "not_found")


def test_given_a_method_that_is_not_possible_then_the_answer_says_which_are(shared_gateway: GatewayProcess) -> None:
    answer = shared_gateway.http.delete("/intent")
    assert error_of(answer) == (405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


def test_given_all_that_then_nothing_was_written(shared_gateway: GatewayProcess, world: System) -> None:
    before = world.sql("SELECT count(*) FROM log")
    for body in (b"{", bad(args={}), bad(method="ad"), bad(kind="cuonter")):
        assert shared_gateway.send("/intent", body).status_code >= 400
    assert world.sql("SELECT count(*) FROM log") == before
