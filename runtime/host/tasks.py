"""Background tasks that are watched: one that fails must not be forgotten with whatever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Failed = Callable[[str, BaseException], None]
"""(what was being done, why it failed)."""


class Tasks:
    """A set of running tasks. `failed` is called for each that raises; tasks handle what they expect themselves."""

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order, unlike a set

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, job: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[Any]:
        """Runs `job` in the background; `what` it does is named should it fail."""
        task = asyncio.ensure_future(job)
        self._tasks[task] = None

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.pop(task, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failed(what, error)

        task.add_done_callback(ended)
        return task

    def cancel(self) -> None:
        """Cancels all of them."""
        for task in self._tasks:
            task.cancel()
