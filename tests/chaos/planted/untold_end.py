"""Planted: an actor that is to be told what became of a command is not told of one that failed."""

from __future__ import annotations

from runtime.host.command import Command
from runtime.host.plan import Plan
from schemas.wire import Failure
from tests.chaos.kinds import counter

__all__ = ["counter"]

_answer_then = Plan._answer_then


def _answer_unless_failed(self: Plan, command: Command, result: bytes, failure: Failure | None) -> None:
    if failure is None:
        _answer_then(self, command, result, failure)


Plan._answer_then = _answer_unless_failed  # type: ignore[method-assign]  # that is the bug
