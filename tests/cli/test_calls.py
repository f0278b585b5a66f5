"""`runtime actors call`, and what its exit codes say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import Runtime


def test_given_an_actor_when_it_is_called_then_the_answer_is_printed_as_json(runtime: Runtime) -> None:
    assert runtime.ok("actors", "call", "counter", "plain", "add", "amount=3").out == "3\n"
    answer = runtime.ok("actors", "call", "counter", "plain", "add", '{"amount": 4}', "--json").json
    assert (answer["result"], answer["seq"], answer["repeated"]) == (7, 2, False)
    assert runtime.ok("actors", "call", "counter", "plain", "value").out == "7\n"
    assert runtime.ok("actors", "call", "counter", "plain", "value", "--json").json == {"seq": 2, "result": 7}


def test_given_an_id_when_a_command_is_repeated_then_the_recorded_answer_comes_back(runtime: Runtime) -> None:
    first = runtime.ok("actors", "call", "counter", "once", "add", "amount=1", "--id", "n1", "--json").json
    again = runtime.ok("actors", "call", "counter", "once", "add", "amount=1", "--id", "n1", "--json").json
    assert again == first | {"repeated": True}
    told = runtime.fails(1, "actors", "call", "counter", "once", "add", "amount=2", "--id", "n1")
    assert "id_reused" in told


def test_given_no_wait_when_an_actor_is_called_then_the_command_is_stored_and_answered_later(runtime: Runtime) -> None:
    stored = runtime.ok("actors", "call", "counter", "later", "add", "amount=5", "--no-wait", "--json").json
    assert stored["run"]
    answer = runtime.ok("actors", "call", "counter", "later", "add", "amount=5", "--id", stored["id"], "--json").json
    assert (answer["result"], answer["id"]) == (5, stored["id"])
    assert "stored as" in runtime.ok("actors", "call", "counter", "later", "add", "amount=5", "--no-wait").out


def test_given_no_wait_when_the_run_is_looked_for_then_it_ends_as_the_call_would_have(runtime: Runtime) -> None:
    def run(*words: str) -> str:
        found: str = runtime.ok("actors", "call", "counter", "run", *words, "--no-wait", "--json").json["run"]
        return found

    assert runtime.ok("runs", "show", run("add", "amount=5")).out == "5\n"
    assert "only 5 are left" in runtime.fails(4, "runs", "show", run("take", "amount=9"))
    refused = run("take", "amount=x")
    assert "Expected `int`" in runtime.fails(2, "runs", "show", refused)
    assert json.loads(runtime("runs", "show", refused, "--json").err)["error"]["code"] == "invalid_arguments"
    assert "is not a run id" in runtime.fails(2, "runs", "show", "nonsense")


def test_given_arguments_in_a_file_or_on_stdin_then_they_are_read(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "arguments.json").write_text('{"item": "tea", "quantity": 2}')
    assert runtime.ok("actors", "call", "cart", "c", "put", f"@{tmp_path / 'arguments.json'}").out == "2\n"
    assert runtime.ok("actors", "call", "cart", "c", "put", "-", stdin='{"item": "tea"}').out == "3\n"
    assert runtime.ok("actors", "call", "cart", "c", "put", "item=a=b", "quantity=1").out == "1\n"
    assert runtime.ok("actors", "call", "cart", "c", "items").out == '{"a=b":1,"tea":3}\n'


def test_given_a_refusal_when_an_actor_is_called_then_the_exit_code_is_4_and_the_reason_is_told(
    runtime: Runtime,
) -> None:
    assert runtime.fails(4, "actors", "call", "counter", "poor", "take", "amount=9") == "rejected: only 0 are left"
    ended = runtime("actors", "call", "counter", "poor", "take", "amount=9", "--json")
    assert ended.code == 4
    assert json.loads(ended.err)["error"] == {
        "code": "rejected",
        "message": "only 0 are left",
        "details": {"left": 0},
    }


@pytest.mark.parametrize(
    ("code", "words", "says"),
    [
        (2, ("counter", "k", "add", "amount=x"), "amount"),
        (2, ("counter", "k", "add", "{"), "not JSON"),
        (2, ("counter", "k", "add", "amount=1", "2"), "name=value"),
        (2, ("counter", "k", "add", "@/no/such/file"), "cannot be read"),
        (2, ("counter", "", "add", "amount=1"), "key is empty"),
        (2, ("counter", "k", "add", "amount=1", "--id", "a b"), "cannot be an id"),
        (3, ("counter", "k", "nope"), "it has add, "),
        (3, ("nope", "k", "add"), "there are approval, "),
        (1, ("counter", "k", "boom"), "boom"),
    ],
)
def test_given_a_call_that_cannot_work_then_one_line_says_why_and_the_code_says_whose_turn_it_is(
    runtime: Runtime, code: int, words: tuple[str, ...], says: str
) -> None:
    assert says in runtime.fails(code, "actors", "call", *words)


def test_given_a_held_actor_when_it_is_called_then_the_command_waits_until_it_is_resumed(runtime: Runtime) -> None:
    runtime.ok("actors", "call", "counter", "held", "add", "amount=1")
    assert runtime.ok("actors", "pause", "counter", "held", "--reason", "a look").out == "paused counter/held\n"
    told = runtime.fails(5, "actors", "call", "counter", "held", "add", "amount=1", "--id", "h2", "--timeout", "3")
    assert "still be processed" in told
    shown = runtime.ok("actors", "describe", "counter", "held")
    assert "by tester: a look" in shown.out
    assert "h2" in shown.out
    described = runtime.ok("actors", "describe", "counter", "held", "--json").json
    assert (described["paused"]["reason"], described["paused"]["by"]) == ("a look", "tester")
    assert [row["command_id"] for row in described["pending"]] == ["h2"]
    runtime.ok("actors", "resume", "counter", "held", "--json")
    assert runtime.ok("actors", "call", "counter", "held", "add", "amount=1", "--id", "h2").out == "2\n"
