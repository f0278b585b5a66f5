"""`runtime runs signal/update/cancel`: what is said to a running handler."""

from __future__ import annotations

from tests.cli.command import Runtime


def test_given_a_running_handler_when_it_is_told_then_it_answers_and_ends(runtime: Runtime) -> None:
    run = runtime.ok("actors", "call", "clerk", "cli", "serve", "--no-wait", "--json").json["run"]
    assert runtime.ok("runs", "signal", run, "limit", "10").out == "signal limit is in the log\n"
    assert runtime.ok("runs", "update", run, "take", "7", "--json").json["result"] == {"taken": 7}
    assert "11 is above 10" in runtime.fails(4, "runs", "update", run, "take", "11")
    assert runtime.ok("runs", "cancel", run, "--reason", "enough").out == f"run {run} is told to end\n"
    assert "was cancelled: enough" in runtime.fails(1, "runs", "show", run)
    assert "is not running" in runtime.fails(1, "runs", "signal", run, "limit", "1")
