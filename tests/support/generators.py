"""Functions that yield, for tests: what they wait for is a file."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from runtime.errors import Rejected
from runtime.function import function
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from tests.support.steppers import note, wait_for

POLICY = RetryPolicy(max_attempts=4, first_delay_s=0.02, max_delay_s=0.1)


@function(retry=POLICY)
async def counting(ctx: Turn, path: str, values: int, stop_at: int = -1, fails: int = 0) -> AsyncIterator[int]:
    """Counts, and waits for a file before one number; fails at the end of so many attempts."""
    note(path, f"attempt {ctx.attempt}")
    for number in range(values):
        if number == stop_at:
            await wait_for(f"{path}.go")
        yield number
    if ctx.attempt <= fails:
        raise ValueError(f"attempt {ctx.attempt} fails")


@function(retry=POLICY)
def blocking(ctx: Turn, path: str, values: int, stop_at: int = -1) -> Iterator[int]:
    """The same, in a thread, and goes on behind what former attempts have yielded."""
    for number in range(ctx.yielded(), values):
        while number == stop_at and not Path(f"{path}.go").exists():
            time.sleep(0.02)
        note(path, str(number))
        yield number


@function(retry=RetryPolicy(max_attempts=1))
async def refusing() -> AsyncIterator[str]:
    """Yields, and refuses."""
    yield "a"
    yield "b"
    raise Rejected("enough")
