"""Requests being answered beside each other, up to a number: what comes beyond it is told to come again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from schemas.wire import Failure

MAX_SERVED = 4096
"""Requests of one sort that a pod answers at the same time; each holds some kilobytes while it waits."""

FULL = Failure("too_many_requests", f"this pod is answering {MAX_SERVED} such requests: ask again in a moment")


class Desk:
    """Serves the requests of one sort."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def full(self) -> bool:
        """Whether no more can be served now; the caller is then answered `FULL`."""
        return len(self._tasks) >= MAX_SERVED

    def serve(self, job: Coroutine[Any, Any, None]) -> None:
        """Runs `job`, which answers by itself."""
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Ends what is being answered."""
        for task in self._tasks:
            task.cancel()
