"""Commands that look: kinds, actors, the log, lanes."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.cli.command import Runtime
from tests.support.system import PARTITIONS, System


@pytest.fixture(scope="module", autouse=True)
def some_events(runtime: Runtime, shared_system: System) -> None:
    """Three actors: counter/a with three events, counter/b with one, and one whose key tries to move the cursor."""

    async def call() -> None:
        async with shared_system.client() as client:
            for key, amount in (("a", 1), ("a", 2), ("a", 3), ("b", 4), ("\x1b[2J", 5)):
                await client.ask("counter", key, "add", {"amount": amount})

    asyncio.run(call())


def test_given_a_pod_then_its_kinds_are_listed_with_their_methods(runtime: Runtime) -> None:
    table = runtime.ok("actors", "kinds").out.splitlines()
    assert table[0].split() == ["KIND", "TYPE", "GROUP", "VERSION", "FLAVOR", "METHOD", "ARGUMENTS"]
    assert any(line.split()[:6] == ["counter", "entity", "default", "unversioned", "command", "add"] for line in table)
    assert any(line.split()[-2:] == ["item,", "[quantity]"] for line in table)
    kinds = runtime.ok("actors", "kinds", "--json").json["kinds"]
    assert {"counter", "cart", "double"} <= {kind["kind"] for kind in kinds}


def test_given_actors_then_they_are_listed_in_pages(runtime: Runtime) -> None:
    page = runtime.ok("actors", "list", "--limit", "2", "--json").json
    assert [(one["kind"], one["key"], one["seq"]) for one in page["actors"]] == [
        ("counter", "\x1b[2J", 1),
        ("counter", "a", 3),
    ]
    assert page["more"] is True
    assert runtime.ok("actors", "list", "--limit", "2").out.endswith("more: add --after counter/a\n")
    rest = runtime.ok("actors", "list", "--after", "counter/a").out
    assert [line.split()[:3] for line in rest.splitlines()] == [["KIND", "KEY", "EVENTS"], ["counter", "b", "1"]]
    assert runtime.ok("actors", "list", "--kind", "cart").out == "no actors yet\n"
    assert "names no actor" in runtime.fails(2, "actors", "list", "--after", "counter")


def test_given_a_key_with_control_characters_when_it_is_listed_then_they_are_made_visible(runtime: Runtime) -> None:
    table = runtime.ok("actors", "list").out
    assert "\x1b" not in table
    assert r"\x1b[2J" in table


def test_given_another_tenant_then_it_sees_nothing_of_this_one(runtime: Runtime) -> None:
    assert runtime.ok("actors", "list", "--tenant", "acme", "--json").json["actors"] == []
    assert runtime.ok("log", "show", "counter", "a", "--tenant", "acme", "--json").json["events"] == []
    assert runtime.ok("log", "export", "--tenant", "acme").out == ""


def test_given_an_actor_when_it_is_described_then_its_state_and_place_are_shown(runtime: Runtime) -> None:
    described = runtime.ok("actors", "describe", "counter", "a", "--json").json
    assert described["state"] == {"value": 6, "events": 3}
    shown = runtime.ok("actors", "describe", "counter", "a").out
    assert shown.startswith("counter/a of tenant default\n")
    assert '{"value":6,"events":3}' in shown
    assert described["actor"] in shown
    assert "no pod serves" in runtime.fails(3, "actors", "describe", "nope", "a")


def test_given_an_actor_then_its_log_is_shown_whole_or_in_part(runtime: Runtime) -> None:
    table = runtime.ok("log", "show", "counter", "a").out.splitlines()
    assert [line.split()[0] for line in table] == ["SEQ", "1", "2", "3"]
    events = runtime.ok("log", "show", "counter", "a", "--from", "2", "--limit", "1", "--json").json["events"]
    assert [(event["seq"], event["payload"]) for event in events] == [(2, {"amount": 2})]
    assert runtime.ok("log", "show", "counter", "nobody").out == "no events of counter/nobody\n"
    assert runtime.ok("log", "show", "counter", "a", "--until", "1h").out == "no events of counter/a\n"
    assert len(runtime.ok("log", "show", "counter", "a", "--since", "1h", "--json").json["events"]) == 3


def test_given_a_span_of_time_then_the_log_of_all_actors_is_shown_by_time(runtime: Runtime) -> None:
    events = runtime.ok("log", "show", "--since", "1h", "--json").json["events"]
    assert [event["payload"]["amount"] for event in events] == [1, 2, 3, 4, 5]
    assert runtime.ok("log", "show", "--until", "2020-01-01").out == "no events\n"
    assert "perhaps more" in runtime.ok("log", "show", "--limit", "2").out
    assert "'soon' is no time" in runtime.fails(2, "log", "show", "--since", "soon")


def test_given_a_log_when_it_is_exported_then_each_event_is_one_line_and_the_file_appears_whole(
    runtime: Runtime, shared_system: System, tmp_path: Path
) -> None:
    exported = runtime.ok("log", "export").lines
    counted = shared_system.sql("SELECT kind, key, seq, lane, position FROM log ORDER BY lane, position")
    assert [(one["kind"], one["key"], one["seq"], one["lane"], one["position"]) for one in exported] == counted
    assert [one["seq"] for one in runtime.ok("log", "export", "counter", "a").lines] == [1, 2, 3]
    assert runtime.ok("log", "export", "cart").out == ""
    assert runtime.ok("log", "export", "--until", "1h").out == ""
    file = tmp_path / "log.jsonl"
    assert runtime.ok("log", "export", "-o", str(file)).out == f"exported 5 events to {file}\n"
    assert [json.loads(line) for line in file.read_text().splitlines()] == exported
    ended = runtime("log", "export", "--output", str(file), "--json")
    assert (ended.code, json.loads(ended.err)) == (0, {"exported": 5})
    assert list(tmp_path.iterdir()) == [file]
    assert "cannot be written" in runtime.fails(2, "log", "export", "-o", str(tmp_path / "no" / "log.jsonl"))


def test_given_an_actor_when_it_is_tailed_then_past_and_new_events_come(runtime: Runtime) -> None:
    table = runtime.ok("actors", "tail", "counter", "a", "--count", "3").out.splitlines()
    assert [line.split()[0] for line in table] == ["1", "2", "3"]
    with runtime.start("actors", "tail", "counter", "b", "--json") as tail:
        tail.until(lambda tail: len(tail.out) == 1)
        runtime.ok("actors", "call", "counter", "b", "add", "amount=40")
        tail.until(lambda tail: len(tail.out) == 2)
        assert tail.end(signal.SIGINT) == 130
        assert [json.loads(line)["payload"]["amount"] for line in tail.out] == [4, 40]
        assert tail.err == []
    assert "no pod serves" in runtime.fails(3, "actors", "tail", "nope", "a")


def test_given_a_pod_then_partitions_say_who_owns_what_and_how_far_it_has_come(
    runtime: Runtime, shared_system: System
) -> None:
    found = runtime.ok("partitions", "--json").json
    (pod,) = found["pods"]
    assert [lane["owner"] for lane in found["partitions"]] == [pod["id"]] * PARTITIONS
    (stream,) = found["streams"]
    assert all(lane["lag"] == stream["last_sequence"] - lane["checkpoint"] for lane in found["partitions"])
    assert min(lane["lag"] for lane in found["partitions"]) == 0
    table = runtime.ok("partitions").out
    assert f"{PARTITIONS} of {PARTITIONS} lanes have a live owner; 1 pods live" in table
    assert pod["id"] in table
    assert runtime.ok("partitions", "--group", "nope").out.startswith("no lanes yet\n")


def test_given_a_database_when_it_is_migrated_again_then_nothing_is_left_to_do(runtime: Runtime) -> None:
    assert runtime.ok("db", "migrate").out == "the schema is up to date\n"
    assert runtime.ok("db", "migrate", "--json").json == {"applied": []}
