"""Several things at once within a workflow, in an order that a replay repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from runtime.errors import BadResult

T = TypeVar("T")
R = TypeVar("R")


async def every(jobs: Iterable[Awaitable[T]]) -> list[T]:
    """The results of all, in their order. The first failure cancels the others, is waited for, and is raised."""
    tasks = [_task(job) for job in jobs]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _end(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    return [task.result() for task in tasks]


async def first(jobs: Sequence[Awaitable[T]]) -> tuple[int, T]:
    """(place, result) of the one that ends first, or its failure; the others are cancelled and waited for."""
    if not jobs:
        raise BadResult("a race needs somebody to run it: pass at least one awaitable")
    tasks = [_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks)
    at = next(at for at, task in enumerate(tasks) if task in done)
    return at, tasks[at].result()


async def mapped(fn: Callable[[T], Awaitable[R]], items: Iterable[T], limit: int) -> list[R]:
    """`fn` of each item, at most `limit` at a time; results in the order of the items."""
    if limit < 1:
        raise BadResult("limit is how many may run at a time: at least 1")
    given = list(items)
    rest = iter(enumerate(given))
    results: dict[int, R] = {}

    async def work() -> None:
        for at, item in rest:
            results[at] = await fn(item)

    await every([work() for _ in range(min(limit, len(given)))])
    return [results[at] for at in range(len(given))]


class Timeout:
    """`async with`: what is within is cancelled after a time, and TimeoutError is raised. `wait` waits durably."""

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._wait = wait
        self._expired = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.create_task(self._run())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError("the time of ctx.timeout is over") from error

    async def _run(self) -> None:
        await self._wait()
        self._expired = True
        self._task.cancel()


def _task(job: Awaitable[T]) -> asyncio.Task[T]:
    if isinstance(job, asyncio.Task):
        return job
    if asyncio.iscoroutine(job):
        return asyncio.create_task(job)
    return asyncio.create_task(_awaited(job))


async def _awaited(job: Awaitable[T]) -> T:
    return await job


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    rest = [task for task in tasks if not task.done()]
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest)
