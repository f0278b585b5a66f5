"""Functions with limits, for tests: what they do is a line in a file, and what they wait for is one."""

from __future__ import annotations

from runtime.function import function
from runtime.limits import Limits
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from tests.support.steppers import note, wait_for

ONCE = RetryPolicy(max_attempts=1)


@function(retry=ONCE, limits=Limits(concurrency=2))
async def pair(ctx: Turn, path: str, fails: bool = False) -> str:
    """At most two go on; each waits for path.go."""
    note(path, f"begin {ctx.command_id}")
    await wait_for(f"{path}.go")
    note(path, f"end {ctx.command_id}")
    if fails:
        raise ValueError("as it was told")
    return ctx.command_id


@function(retry=ONCE, limits=Limits(per_key=1))
async def single(ctx: Turn, path: str) -> str:
    """At most one of a key goes on."""
    note(path, f"begin {ctx.command_id}")
    await wait_for(f"{path}.go")
    note(path, f"end {ctx.command_id}")
    return ctx.command_id
