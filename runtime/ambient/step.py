"""Which step runs in this task or thread."""

from __future__ import annotations

from contextvars import ContextVar

in_step: ContextVar[str] = ContextVar("in_step", default="")
"""The id of the step whose function runs: that of its idempotency key; empty outside of steps."""
