"""Planted: a workflow that is cancelled does not tell its child."""

from __future__ import annotations

from typing import Any

from runtime import Workflow
from tests.chaos.kinds import counter

__all__ = ["counter"]

_child = Workflow.child


async def _child_alone(self: Workflow, workflow: Any, run_id: str, args: Any = None, **more: Any) -> Any:
    return await _child(self, workflow, run_id, args, **(more | {"on_cancel": "abandon"}))


Workflow.child = _child_alone  # type: ignore[method-assign]  # that is the bug
