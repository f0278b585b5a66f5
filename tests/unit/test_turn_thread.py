"""The thread of turns: each job ends once, whether the loop waited for it or went on."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest

from runtime.host.turn_thread import AT_ONCE_S, TurnThread

pytestmark = pytest.mark.anyio
PATIENCE_S = 60


async def test_given_jobs_that_end_about_when_the_loop_goes_on_then_each_is_awaited_to_its_end() -> None:
    thread, ran = TurnThread(), 0

    def job(takes_s: float) -> None:
        nonlocal ran
        time.sleep(takes_s)
        ran += 1

    async with asyncio.timeout(PATIENCE_S):
        for number in range(200):
            await thread.run(partial(job, AT_ONCE_S * number / 100), PATIENCE_S)
            assert ran == number + 1
    thread.close()


async def test_given_a_job_that_takes_long_then_the_loop_goes_on_and_hears_of_its_failure() -> None:
    thread, over = TurnThread(), threading.Event()

    def job() -> None:
        over.wait(PATIENCE_S)
        raise ValueError("it failed")

    running = asyncio.ensure_future(thread.run(job, PATIENCE_S))
    await asyncio.sleep(0)
    assert not running.done()
    over.set()
    with pytest.raises(ValueError, match="it failed"):
        await running
    thread.close()


async def test_given_a_short_job_that_fails_then_its_failure_is_raised() -> None:
    thread = TurnThread()

    def job() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await thread.run(job)
    await thread.run(lambda: None)
    thread.close()
