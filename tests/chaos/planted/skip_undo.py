"""Planted: a saga does not undo what a workflow did that is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

from runtime.flow.saga import Saga
from tests.chaos.kinds import counter

__all__ = ["counter"]

_exit = Saga.__aexit__


async def _exit_unless_cancelled(self: Saga, kind: Any, error: BaseException | None, traceback: Any) -> None:
    if not isinstance(error, asyncio.CancelledError):
        await _exit(self, kind, error, traceback)


Saga.__aexit__ = _exit_unless_cancelled  # type: ignore[method-assign]  # that is the bug
