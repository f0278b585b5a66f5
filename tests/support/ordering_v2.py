"""Version 2 of a workflow, see tests/host/test_pinned_runs.py."""

from __future__ import annotations

from typing import Any

from runtime import Workflow, workflow
from tests.support import flowers


def note(path: str, line: str) -> str:
    """Writes down which version did what."""
    return flowers.note(path, f"v2 {line}")


@workflow
async def ordering(ctx: Workflow, path: str, name: str) -> list[Any]:
    """Another second step, for runs that have not passed the wait."""
    first = await ctx.step("first", note, path, f"first of {name}")
    await ctx.signal("go")
    step = "third" if ctx.patched("third") else "second"
    second = await ctx.step(step, note, path, f"{step} of {name}")
    await ctx.signal("end")
    return [first, second]
