"""Planted: who goes on with an agent's run does not know what its model has said last, and asks it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.flow.paced import PacedSteps
from runtime.flow.sending import Sender
from runtime.recorder import Entry
from tests.chaos.kinds import counter

__all__ = ["counter"]

_init = PacedSteps.__init__


def _init_before_the_last_thought(
    self: PacedSteps, actor: str, key: str, run: str, attempt: int, keeper: Sender, recorded: Sequence[Entry] = (),
    **more: Any,
) -> None:  # fmt: skip
    thoughts = [number for number, entry in enumerate(recorded) if entry.step == "model"]
    _init(self, actor, key, run, attempt, keeper, recorded[: thoughts[-1]] if thoughts else recorded, **more)


PacedSteps.__init__ = _init_before_the_last_thought  # type: ignore[method-assign]  # that is the bug
