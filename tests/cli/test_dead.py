"""`runtime dead`: commands that failed for good, and what a person does with them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.command import Runtime


@pytest.fixture
def letter(runtime: Runtime) -> dict[str, Any]:
    """A command that was just parked."""
    runtime.fails(1, "actors", "call", "counter", "ill", "boom")
    letters: list[dict[str, Any]] = runtime.ok("dead", "list", "--json").json["letters"]
    return letters[-1]


def test_given_a_parked_command_then_it_is_listed_and_shown(runtime: Runtime, letter: dict[str, Any]) -> None:
    row = runtime.ok("dead", "list", "--kind", "counter").out.splitlines()[-1]
    assert row.split()[:5] == [str(letter["id"]), "counter", "ill", "boom", "handler_failed"]
    assert row.endswith("ValueError: boom")
    shown = runtime.ok("dead", "show", str(letter["id"])).out
    assert letter["command_id"] in shown
    assert runtime.ok("dead", "show", str(letter["id"]), "--json").json["method"] == "boom"
    assert runtime.ok("dead", "list", "--kind", "cart").out == "no dead letters\n"
    assert runtime.ok("dead", "list", "--after", str(letter["id"]), "--json").json["letters"] == []
    assert runtime.ok("dead", "list", "--tenant", "acme").out == "no dead letters\n"


def test_given_a_parked_command_when_it_is_dropped_then_it_is_settled_for_good(
    runtime: Runtime, letter: dict[str, Any]
) -> None:
    number = str(letter["id"])
    told = runtime.ok("dead", "drop", number, "--reason", "not needed").out
    assert told == f"dropped {number}: boom of counter/ill\n"
    dropped = runtime.ok("dead", "list", "--status", "dropped", "--json").json["letters"]
    assert [(one["id"], one["resolved_by"]) for one in dropped][-1] == (letter["id"], "tester")
    assert "dropped already" in runtime.fails(4, "dead", "drop", number)
    assert "dropped already" in runtime.fails(4, "dead", "replay", number)
    every = runtime.ok("dead", "list", "--status", "all", "--json").json["letters"]
    assert letter["id"] in [one["id"] for one in every]


def test_given_a_parked_command_when_it_is_replayed_then_it_is_tried_again_as_the_same_command(
    runtime: Runtime, letter: dict[str, Any]
) -> None:
    assert runtime.ok("dead", "replay", str(letter["id"]), "--json").json == {"replayed": [letter["id"]]}
    told = runtime.fails(1, "actors", "call", "counter", "ill", "boom", "--id", letter["command_id"])
    assert "boom" in told  # the answer of the second attempt, which failed as well
    again = runtime.ok("dead", "list", "--json").json["letters"][-1]
    assert (again["command_id"], again["status"]) == (letter["command_id"], "parked")
    assert again["id"] > letter["id"]


def test_given_no_such_letter_then_it_says_so(runtime: Runtime) -> None:
    for words in (("show",), ("replay",), ("drop",)):
        assert "no dead letter 999" in runtime.fails(3, "dead", *words, "999")
    assert "Invalid value" in runtime.fails(2, "dead", "show", "first")
