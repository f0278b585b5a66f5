"""How long tests wait for what must come, and calls that are to fail when their time is over.

A busy machine may give a process no time for seconds: no test may fail for that. So nothing is waited for by sleeping,
and a call whose time was over before its answer came is given more time.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runtime.errors import CallFailed

PATIENCE_S = 60.0
"""Seconds that are waited for what must come: a test that passes waits for none of them on a machine with time."""


async def out_of_time(call: Callable[[float], Awaitable[Any]], words: str, first_s: float = 0.3) -> CallFailed:
    """How `call` fails, which goes on until its time (seconds) is over; as soon as it had time to learn `words`."""
    timeout_s = first_s
    while True:
        with pytest.raises(CallFailed) as failed:
            await call(timeout_s)
        if timeout_s > PATIENCE_S or re.search(words, str(failed.value)):
            assert re.search(words, str(failed.value)), failed.value
            return failed.value
        timeout_s *= 4
