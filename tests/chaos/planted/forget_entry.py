"""Planted: who goes on with a workflow does not know of the step that was completed last, and takes it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.flow.paced import PacedSteps
from runtime.flow.sending import Sender
from runtime.recorder import Entry
from tests.chaos.kinds import counter

__all__ = ["counter"]

_init = PacedSteps.__init__


def _init_without_the_last(
    self: PacedSteps, actor: str, key: str, run: str, attempt: int, keeper: Sender, recorded: Sequence[Entry] = (),
    **more: Any,
) -> None:  # fmt: skip
    last = next((entry for entry in reversed(recorded) if not entry.step.startswith("$")), None)
    _init(self, actor, key, run, attempt, keeper, [entry for entry in recorded if entry is not last], **more)


PacedSteps.__init__ = _init_without_the_last  # type: ignore[method-assign]  # that is the bug
