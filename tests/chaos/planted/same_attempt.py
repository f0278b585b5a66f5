"""Planted: what a run shows does not tell the attempt that shows it from the one before."""

from __future__ import annotations

from runtime.host.command import Command
from runtime.host.screens import ATTEMPTS, Screens
from tests.chaos.kinds import counter

__all__ = ["counter"]


def _always_the_first(self: Screens, command: Command) -> int:
    return ATTEMPTS


Screens.attempt = _always_the_first  # type: ignore[method-assign]  # that is the bug
