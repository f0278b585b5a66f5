"""Planted: a workflow that continues as new forgets what it was told and has not taken yet."""

from __future__ import annotations

from runtime.flow.paced import PacedSteps
from runtime.flow.saga import ContinueAsNew
from tests.chaos.kinds import counter

__all__ = ["counter"]

_continue = PacedSteps.continue_as_new


async def _continue_empty(self: PacedSteps, again: ContinueAsNew, heard: int, kept: list[int]) -> None:
    await _continue(self, again, heard, [])


PacedSteps.continue_as_new = _continue_empty  # type: ignore[method-assign]  # that is the bug
