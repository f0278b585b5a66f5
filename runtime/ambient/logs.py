"""The log of handlers: `ctx.log.info("charged %s", order.id, extra={"amount": 3})`.

Each line carries what it is about (runtime.telemetry.logs), the attempt, and the step. A replay writes no line again.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from runtime.ambient.step import in_step

if TYPE_CHECKING:
    from runtime.turn import Turn

_log = logging.getLogger("troupe.handlers")


class HandlerLog(logging.LoggerAdapter[logging.Logger]):
    """A logger for one turn."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(_log, {})
        self._turn = turn

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # logging's name
        """Whether a line of that level is written now."""
        return not self._turn.replaying and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Adds what the line is about."""
        turn = self._turn
        tenant, kind, key = turn.address
        about: dict[str, Any] = {"tenant": tenant, "kind": kind, "key": key, "method": turn.method}
        about |= {"command_id": turn.command_id, "attempt": turn.attempt}
        if step := in_step.get():
            about["step"] = step
        return msg, {**kwargs, "extra": {**about, **(kwargs.get("extra") or {})}}
