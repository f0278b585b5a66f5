"""Planted: what a deleted actor had answered stays, and is said again in its next life."""

from __future__ import annotations

from runtime.postgres import queries
from tests.chaos.kinds import counter

__all__ = ["counter"]

queries._QUERIES["erase_inbox"] = "SELECT 0"
