"""`runtime actors up --version` and `runtime groups`: a version is pinned, looked at, promoted and taken back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.cli.command import TIMEOUT_S, Running, Runtime
from tests.support.system import KINDS, System


def state(runtime: Runtime, group: str) -> dict[str, Any]:
    """A group as `runtime groups list --json` shows it."""
    found: dict[str, Any] = next(
        one for one in runtime.ok("groups", "list", "--json").json["groups"] if one["group"] == group
    )
    return found


def ready(runtime: Runtime, group: str) -> dict[str, Any]:
    """The group, once it is ready to be promoted."""
    end = time.monotonic() + TIMEOUT_S
    while (found := state(runtime, group))["state"] != "ready":
        assert time.monotonic() < end, found
    return found


def up(running: Running) -> None:
    """Waits for the pod."""
    running.until(lambda one: any("pod" in json.loads(line) for line in one.out))


def test_given_a_pinned_version_when_it_is_promoted_and_the_old_one_again_then_the_list_says_so(
    system: System, tmp_path: Path
) -> None:
    runtime = Runtime(system.environment(), tmp_path)
    with (
        runtime.start("actors", "up", KINDS, "--version", "1", "--group", "shop", "--json") as first,
        runtime.start("actors", "up", KINDS, "--version", "2.0", "--group", "shop-2", "--json") as second,
    ):
        up(first)
        up(second)
        groups = {one["group"] for one in runtime.ok("groups", "list", "--json").json["groups"]}
        assert groups == {"shop", "shop-2"}
        old, new = ("shop", "shop-2") if state(runtime, "shop")["current"] else ("shop-2", "shop")
        assert ready(runtime, new)["lag"] is None
        assert runtime.ok("actors", "call", "counter", "a", "add", "amount=1").out == "1\n"
        said = runtime.ok("groups", "promote", new).out
        assert said.startswith(f"group {new} is the current one of ")
        assert said.endswith(f", and group {old} stands by\n")
        assert "already" in runtime.ok("groups", "promote", new).out
        assert runtime.ok("actors", "call", "counter", "a", "add", "amount=1").out == "2\n"
        assert state(runtime, new)["state"] == "current"
        assert state(runtime, new)["lag"] >= 0
        assert ready(runtime, old)["pods"] == 1
        assert runtime.ok("groups", "promote", old, "--json").json["replaced"] == new
        table = runtime.ok("groups", "list").out.splitlines()
        assert table[0].split() == ["GROUP", "VERSION", "STATE", "KINDS", "PODS", "LANES", "LAG"]
        runtime.ok("partitions")
    assert sorted(system.sql("SELECT DISTINCT code_version FROM events")) == [("1",), ("2.0",)]


def test_given_a_group_that_nobody_runs_when_it_is_retired_then_the_list_says_so_and_nothing_warns_of_it(
    system: System, tmp_path: Path
) -> None:
    runtime = Runtime(system.environment(), tmp_path)
    with runtime.start("actors", "up", KINDS, "--group", "front", "--json") as front:
        up(front)
        with runtime.start("actors", "up", "tests.gateway.kinds", "--group", "back", "--json") as back:
            up(back)
            assert "group 'back' is served by back-" in runtime.fails(4, "groups", "retire", "back")
            assert "warning" not in runtime.ok("partitions").out
            assert back.end() == 0
        assert "warning: no pod of group 'back' lives" in runtime.ok("partitions").out
        served = ["letters", "note", "refunding", "reviewing"]
        said = runtime.ok("groups", "retire", "back").out
        assert said == f"group back is retired; nobody serves {', '.join(served)}\n"
        assert state(runtime, "back")["state"] == "retired"
        assert "warning" not in runtime.ok("partitions").out
        assert runtime.ok("groups", "retire", "back", "--json").json["kinds"] == served


def test_given_no_such_group_or_a_name_that_is_none_then_the_error_says_what_to_do(
    runtime: Runtime, tmp_path: Path
) -> None:
    assert "there is no group 'v9'" in runtime.fails(3, "groups", "promote", "v9")
    assert "there is no group 'v9'" in runtime.fails(3, "groups", "retire", "v9")
    assert "group 'v1.2' is not a name" in runtime.fails(2, "actors", "up", KINDS, "--version", "v1.2")
