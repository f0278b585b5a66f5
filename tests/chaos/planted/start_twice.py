"""Planted: a second start of a run that goes on, or is over, is one of its own."""

from __future__ import annotations

from typing import Any

from runtime.kind import Admission
from runtime.workflow import WorkflowKind
from tests.chaos.kinds import counter

__all__ = ["counter"]


def _begin(self: WorkflowKind, state: Any, payload: Any, command_id: str) -> Admission:
    return Admission("begin")


WorkflowKind.admission = _begin  # type: ignore[method-assign]  # that is the bug
