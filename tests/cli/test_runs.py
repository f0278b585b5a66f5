"""`runtime runs signal/update/cancel`: what is said to a running handler."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import Runtime


def test_given_a_generator_when_called_for_its_values_then_each_is_a_line(runtime: Runtime, tmp_path: Path) -> None:
    arguments = ("actors", "call", "counting", "cli", "run", f"path={tmp_path / 'notes'}", "values=3", "--id", "values")
    assert runtime.ok(*arguments, "--stream").out == "0\n1\n2\n"
    assert runtime.ok(*arguments, "--stream", "--json").lines == [{"number": n, "value": n} for n in range(3)]
    assert runtime.ok(*arguments).out == "3\n"


def test_given_a_call_that_starts_later_when_cancelled_then_it_never_ran(runtime: Runtime) -> None:
    later = ("actors", "call", "counter", "later", "add", "amount=1", "--delay", "3600", "--no-wait", "--json")
    run = runtime.ok(*later).json["run"]
    runtime.ok("runs", "cancel", run)
    assert "cancelled" in runtime.fails(1, "runs", "show", run)


def test_given_a_running_handler_when_it_is_told_then_it_answers_and_ends(runtime: Runtime) -> None:
    run = runtime.ok("actors", "call", "clerk", "cli", "serve", "--no-wait", "--json").json["run"]
    assert runtime.ok("runs", "signal", run, "limit", "10").out == "signal limit is in the log\n"
    assert runtime.ok("runs", "update", run, "take", "7", "--json").json["result"] == {"taken": 7}
    assert "11 is above 10" in runtime.fails(4, "runs", "update", run, "take", "11")
    assert runtime.ok("runs", "cancel", run, "--reason", "enough").out == f"run {run} is told to end\n"
    assert "was cancelled: enough" in runtime.fails(1, "runs", "show", run)
    assert "is not running" in runtime.fails(1, "runs", "signal", run, "limit", "1")


def test_given_runs_when_they_are_listed_and_described_then_a_person_sees_what_became_of_them(runtime: Runtime) -> None:
    def start(key: str) -> str:
        words = ("actors", "call", "clerk", key, "serve", "--tag", "listed", "--run-timeout", "3600")
        run: str = runtime.ok(*words, "--no-wait", "--json").json["run"]
        return run

    first, second = start("one"), start("two")
    runtime.ok("runs", "signal", first, "limit", "10")
    runtime.ok("runs", "update", first, "take", "7")
    runtime.ok("runs", "terminate", second, "--reason", "stuck", "--by", "ann")
    assert "was terminated: stuck (by ann)" in runtime.fails(1, "runs", "wait", second)
    listed = runtime.ok("runs", "list", "--tag", "listed", "--json").json["runs"]
    assert [(one["run_id"], one["status"]) for one in listed] == [(second, "terminated"), (first, "running")]
    page = runtime.ok("runs", "list", "--tag", "listed", "--limit", "1", "--json").json
    rest = runtime.ok("runs", "list", "--tag", "listed", "--limit", "1", "--after", page["cursor"], "--json").json
    assert ([one["run_id"] for one in page["runs"] + rest["runs"]], rest["cursor"]) == ([second, first], None)
    assert runtime.ok("runs", "list", "--tag", "nobody's").out == "no runs\n"
    assert "is no status of a run" in runtime.fails(2, "runs", "list", "--status", "asleep")
    drawn = runtime.ok("runs", "describe", first).out
    assert "clerk/one.serve   running" in drawn
    assert "  1  $signal limit" in drawn
    assert "← signal  limit  = 10" in drawn
    assert "tags        listed" in drawn
    assert "✕ terminate  stuck  by ann" in runtime.ok("runs", "describe", second).out
    assert "is not parked but terminated" in runtime.fails(4, "runs", "retry", second)
    runtime.ok("runs", "cancel", first)
