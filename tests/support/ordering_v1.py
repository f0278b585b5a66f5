"""Version 1 of a workflow, see tests/host/test_pinned_runs.py."""

from __future__ import annotations

from typing import Any

from runtime import Workflow, workflow
from tests.support import flowers


def note(path: str, line: str) -> str:
    """Writes down which version did what."""
    return flowers.note(path, f"v1 {line}")


@workflow
async def ordering(ctx: Workflow, path: str, name: str) -> list[Any]:
    """One step, a wait, another step, and a wait."""
    first = await ctx.step("first", note, path, f"first of {name}")
    await ctx.signal("go")
    second = await ctx.step("second", note, path, f"second of {name}")
    await ctx.signal("end")
    return [first, second]
