"""Commands over HTTP, through a real gateway, broker, pod and database."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.gateway.process import GatewayProcess, error_of, events_of
from tests.support.system import System


def test_given_a_command_when_it_is_waited_for_then_the_answer_has_its_result_and_where_to_find_it(
    shared_gateway: GatewayProcess, world: System
) -> None:
    answer = shared_gateway.intent("counter", "a.b*>ключ", "add", {"amount": 3})
    assert answer.status_code == 200
    document = answer.json()
    assert (document["result"], document["seq"]) == (3, 1)
    assert world.sql("SELECT payload::text FROM log WHERE key = %s", "a.b*>ключ") == [('{"amount":3}',)]
    run = shared_gateway.http.get(f"/runs/{document['run_id']}").json()
    assert (run["status"], run["result"], run["id"]) == ("done", 3, document["id"])


def test_given_the_actor_refuses_then_the_answer_is_a_conflict_with_the_details(shared_gateway: GatewayProcess) -> None:
    answer = shared_gateway.intent("counter", "poor", "take", {"amount": 3})
    assert error_of(answer) == (409, "rejected")
    assert answer.json()["error"]["message"] == "only 0 are left"
    assert answer.json()["error"]["details"] == {"left": 0}


def test_given_wrong_arguments_then_the_answer_names_the_place(shared_gateway: GatewayProcess) -> None:
    answer = shared_gateway.intent("counter", "wrong", "add", {"amount": "three"})
    assert error_of(answer) == (400, "invalid_arguments")
    assert answer.json()["error"]["path"] == "$.amount"


def test_given_a_command_that_is_refused_when_its_run_is_looked_for_then_it_says_why_and_the_id_is_free(
    shared_gateway: GatewayProcess,
) -> None:
    body = {"kind": "counter", "key": "refused", "method": "add", "id": "corrected"}
    wrong = shared_gateway.http.post("/runs", json=body | {"args": {"amount": "three"}}).json()
    run = shared_gateway.http.get(wrong["links"]["self"], params={"wait_s": 30}).json()
    assert (run["status"], run["error"]["code"], run["error"]["path"]) == ("failed", "invalid_arguments", "$.amount")
    right = shared_gateway.http.post("/runs", json=body | {"args": {"amount": 3}}).json()
    ended = shared_gateway.http.get(right["links"]["self"], params={"wait_s": 30}).json()
    assert (ended["status"], ended["result"]) == ("done", 3)
    assert shared_gateway.http.get(wrong["links"]["self"]).json() == run
    again = shared_gateway.intent("counter", "refused", "add", {"amount": "three"}, id="corrected")
    assert error_of(again) == (400, "invalid_arguments")


def test_given_a_command_past_its_deadline_then_its_run_says_so(shared_gateway: GatewayProcess) -> None:
    body = {"kind": "counter", "key": "late", "method": "add", "args": {"amount": 3}, "deadline_ms": 1000}
    accepted = shared_gateway.http.post("/runs", json=body).json()
    run = shared_gateway.http.get(accepted["links"]["self"], params={"wait_s": 30}).json()
    assert (run["status"], run["error"]["code"]) == ("failed", "expired")


def test_given_a_command_that_takes_longer_than_the_wait_then_it_goes_on_and_its_run_tells_the_end(
    shared_gateway: GatewayProcess, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    args = {"item": "pear", "quantity": 2, "path": str(path)}
    answer = shared_gateway.intent("cart", "slow", "put_slowly", args, wait_s=0.1, session="sl/ow")
    assert answer.status_code == 202
    document = answer.json()
    assert document["status"] == "accepted"
    assert document["links"]["stream"] == "/stream/sl%2Fow"
    assert answer.headers["location"] == document["links"]["self"]
    assert shared_gateway.http.get(document["links"]["self"]).json()["status"] in ("accepted", "pending")
    path.touch()
    ended = shared_gateway.http.get(document["links"]["self"], params={"wait_s": 30}).json()
    assert (ended["status"], ended["result"]) == ("done", 2)


@pytest.mark.parametrize("path", ["/runs", "/intent"])
def test_given_a_command_that_is_only_to_be_accepted_then_its_run_tells_the_end(
    shared_gateway: GatewayProcess, path: str
) -> None:
    body = {"kind": "counter", "key": f"accepted{path}", "method": "take", "args": {"amount": 1}}
    if path == "/intent":
        body["mode"] = "accept"
    answer = shared_gateway.http.post(path, json=body)
    assert answer.status_code == 202
    run = shared_gateway.http.get(answer.json()["links"]["self"], params={"wait_s": 30}).json()
    assert (run["status"], run["error"]["code"], run["error"]["details"]) == ("rejected", "rejected", {"left": 0})


def test_given_an_idempotency_key_then_a_repeat_is_answered_and_not_done_again(shared_gateway: GatewayProcess) -> None:
    again = {"Idempotency-Key": "k-1"}
    first = shared_gateway.intent("counter", "idem", "add", {"amount": 3}, headers=again).json()
    second = shared_gateway.intent("counter", "idem", "add", {"amount": 3}, headers=again).json()
    assert second == first | {"repeated": True}
    other = shared_gateway.intent("counter", "idem", "add", {"amount": 4}, headers=again)
    assert error_of(other) == (409, "id_reused")
    assert shared_gateway.intent("counter", "idem", "add", {"amount": 1}).json()["result"] == 4


def test_given_one_idempotency_key_many_times_at_once_then_it_is_done_once(shared_gateway: GatewayProcess) -> None:
    def call(_: int) -> object:
        headers = {"Idempotency-Key": "k-2"}
        return shared_gateway.intent("counter", "crowd", "add", {"amount": 1}, headers=headers).json()["result"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(24))) == [1] * 24


def test_given_an_id_in_the_body_then_a_repeat_is_answered(shared_gateway: GatewayProcess) -> None:
    results = [shared_gateway.intent("counter", "ids", "add", {"amount": 2}, id="mine").json()["result"] for _ in "ab"]
    assert results == [2, 2]


def test_given_a_deadline_that_has_passed_then_the_command_is_not_done(shared_gateway: GatewayProcess) -> None:
    answer = shared_gateway.intent("counter", "late", "add", {"amount": 2}, deadline_ms=1)
    assert error_of(answer) == (408, "expired")
    future = int((time.time() + 60) * 1000)
    assert shared_gateway.intent("counter", "late", "add", {"amount": 1}, deadline_ms=future).json()["result"] == 1


def test_given_arguments_beyond_what_a_message_holds_then_they_arrive_whole(shared_gateway: GatewayProcess) -> None:
    text = "x" * 2_000_000
    assert shared_gateway.intent("note", "large", "write", {"text": text}, id="one").json()["result"] == 2_000_000
    again = shared_gateway.intent("note", "large", "write", {"text": text}, id="one").json()
    assert (again["result"], again["repeated"]) == (2_000_000, True)
    other = shared_gateway.intent("note", "large", "write", {"text": text[:-1] + "y"}, id="one")
    assert error_of(other) == (409, "id_reused")


def test_given_a_function_then_it_can_be_found_and_invoked_by_name(shared_gateway: GatewayProcess) -> None:
    functions = {one["name"]: one for one in shared_gateway.http.get("/functions").json()}
    assert functions["double"]["invoke"] == "/invoke/double"
    assert "x" in str(functions["double"]["arguments"])
    assert "counter" not in functions
    assert shared_gateway.http.post("/invoke/double", json={"x": 21}).json()["result"] == 42
    again = [
        shared_gateway.http.post("/invoke/double", json={"x": 4}, headers={"Idempotency-Key": "d"}).json() for _ in "ab"
    ]
    assert again[1] == again[0] | {"repeated": True}
    assert error_of(shared_gateway.http.post("/invoke/counter", json={})) == (404, "unknown_kind")
    accepted = shared_gateway.http.post("/invoke/double", json={"x": 5}, params={"wait_s": 0})
    assert accepted.status_code == 202
    run = shared_gateway.http.get(accepted.json()["links"]["self"], params={"wait_s": 30}).json()
    assert (run["status"], run["result"]) == ("done", 10)


def test_given_a_command_that_is_streamed_then_its_facts_come_until_its_result(shared_gateway: GatewayProcess) -> None:
    body = {"kind": "counter", "key": "streamed", "method": "add", "args": {"amount": 3}, "mode": "stream"}
    with shared_gateway.http.stream("POST", "/intent", json=body) as response:
        events = [event for event in events_of(response) if event.name != "comment"]
    begin, *facts = events
    assert begin.name == "run"
    assert begin.data["links"]["stream"] == f"/stream/{begin.data['session']}"
    assert [(fact.data["type"], fact.data["name"], fact.data["data"]) for fact in facts] == [
        ("event", "Added", {"amount": 3}),
        ("result", "add", 3),
    ]
    assert [int(fact.id or 0) for fact in facts] == sorted(int(fact.id or 0) for fact in facts)


def test_given_a_streamed_command_that_was_done_before_then_the_stream_still_ends_with_its_result(
    shared_gateway: GatewayProcess,
) -> None:
    body = {"kind": "counter", "key": "twice", "method": "add", "args": {"amount": 3}, "id": "once", "mode": "stream"}
    for expected in ("message", "result"):
        with shared_gateway.http.stream("POST", "/intent", json=body) as response:
            last = list(events_of(response))[-1]
        assert last.name == expected
        assert 3 in (last.data.get("result"), last.data.get("data"))


def test_given_many_callers_at_once_then_every_command_is_counted_once(
    shared_gateway: GatewayProcess, world: System
) -> None:
    def call(number: int) -> int:
        answer = shared_gateway.intent("counter", f"many{number % 7}", "add", {"amount": 1})
        assert answer.status_code == 200, answer.text
        return 1

    with ThreadPoolExecutor(16) as pool:
        done = sum(pool.map(call, range(300)))
    assert world.sql("SELECT count(*) FROM log WHERE key LIKE %s", "many%") == [(done,)]
