"""What the command line says of itself, and what it says when it is used wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.cli import main
from runtime.cli.app import app, tree
from tests.cli.command import Runtime
from tests.support.system import ROOT


def commands(group: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


ALL = sorted(commands(tree(app)))


@pytest.fixture
def alone(tmp_path: Path) -> Runtime:
    """`runtime …` where no servers are named and none run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNTIME_")}
    return Runtime(environment | {"RUNTIME_DATA": str(tmp_path / "data")}, tmp_path)


def test_the_commands_are_those_that_scripts_may_rely_on() -> None:
    assert {" ".join(words) for words in ALL} == {
        "actors call", "actors delete",
        "actors describe", "actors kinds", "actors list", "actors pause", "actors resume", "actors skip",
        "actors tail", "actors up", "approvals approve", "approvals list", "approvals reject", "approvals show",
        "approvals up", "ask", "capabilities evaluate", "capabilities list",
        "db migrate", "dead drop", "dead list", "dead replay", "dead show", "dev",
        "fleet apply", "gateway up",
        "groups list", "groups promote", "groups retire", "infra down", "infra status", "infra up", "init", "intake up",
        "keys new", "log archive", "log export", "log restore", "log segments", "log show", "partitions", "replay",
        "runs cancel",
        "runs complete", "runs fail",
        "runs describe", "runs fork", "runs list", "runs restart", "runs retry", "runs show", "runs signal",
        "runs signal-with-start",
        "runs terminate", "runs update", "runs wait", "schedules backfill", "schedules create", "schedules delete",
        "schedules describe", "schedules list", "schedules pause", "schedules resume", "schedules trigger",
        "schedules up", "sessions expire", "sessions export", "sessions prompt", "tenants", "version",
    }  # fmt: skip


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_given_any_command_then_its_help_has_an_example_and_it_can_speak_json(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    told = capsys.readouterr().out
    example = told.partition("Example")[2]
    assert f"runtime {' '.join(words)}" in example
    assert "--json" in told


def test_given_no_command_then_help_is_shown_and_the_code_is_2(alone: Runtime) -> None:
    for words in ((), ("actors",), ("gateway",)):
        ended = alone(*words)
        assert (ended.code, ended.err) == (2, "")
        assert "Commands:" in ended.out


def test_given_words_that_mean_nothing_then_one_line_says_where_to_look(alone: Runtime) -> None:
    assert alone.fails(2, "atcors").endswith("see runtime --help")
    assert alone.fails(2, "actors", "list", "--al").endswith("see runtime actors list --help")
    assert "Missing" in alone.fails(2, "actors", "describe", "account")
    assert "Invalid value" in alone.fails(2, "dead", "list", "--status", "odd")


def test_given_nothing_runs_when_an_actor_is_called_then_it_says_what_to_start(alone: Runtime) -> None:
    assert "start them with `runtime dev`" in alone.fails(5, "actors", "call", "counter", "a", "add", "amount=1")
    ended = alone("partitions", "--json")
    assert (ended.code, json.loads(ended.err)["error"]["code"]) == (5, "unavailable")


def test_given_a_broker_that_is_not_there_then_the_url_is_named_without_its_password(alone: Runtime) -> None:
    alone.environment["RUNTIME_NATS_URL"] = "nats://me:secret@127.0.0.1:1"
    told = alone.fails(5, "actors", "list", "--timeout", "0.3")
    assert "nats://127.0.0.1:1" in told
    assert "secret" not in told


def test_given_one_of_two_urls_then_what_needs_both_says_which_one_is_missing(alone: Runtime) -> None:
    alone.environment["RUNTIME_NATS_URL"] = "nats://127.0.0.1:1"
    assert "RUNTIME_POSTGRES_URL is not" in alone.fails(2, "actors", "up", "bank")


def test_given_a_broker_without_pods_then_it_says_that_none_answers(alone: Runtime, servers: Any) -> None:
    alone.environment["RUNTIME_NATS_URL"] = servers.nats_url
    assert "see that pods run" in alone.fails(5, "actors", "list", "--timeout", "0.5")


def test_given_version_then_it_is_printed_and_neither_broker_nor_database_is_loaded() -> None:
    code = (
        "import sys, runtime.cli; sys.exit(runtime.cli.main(['version', '--json'])"
        " or bool({'nats', 'psycopg', 'litestar', 'faststream', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(json.loads(done.stdout)) == {"version", "python"}


def test_given_an_error_nobody_thought_of_then_it_is_one_line_that_says_how_to_see_more(
    alone: Runtime, tmp_path: Path
) -> None:
    alone.environment["RUNTIME_DATA"] = str(tmp_path / ("x" * 300))  # longer than a name may be
    told = alone.fails(1, "actors", "list")
    assert "RUNTIME_DEBUG=1" in told
