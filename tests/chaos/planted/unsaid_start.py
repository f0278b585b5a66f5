"""Planted: a start with a signal begins the run, or finds it, and does not say the signal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from runtime.host import beginnings, controls
from tests.chaos.kinds import counter

__all__ = ["counter"]


def _say_nothing(*given: Any) -> None:
    pass


beginnings.controls = SimpleNamespace(**vars(controls) | {"say": _say_nothing})  # type: ignore[attr-defined, assignment]  # the bug
