"""The event loop of handlers in a node: the product's own counting (runtime.activity), over the node's turns.

A pod's handlers have another loop than the pod itself. Here the callbacks of both run in their node's turns, one at a
time, in the order in which they became ready; each sees its own loop as the one that runs.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar, cast

from runtime.activity import Counting, counted
from tests.simulation.scheduler import Loop, Node

T = TypeVar("T")


class _Within(Loop):
    """A loop whose callbacks run in the turns of another one's nodes."""

    def __init__(self, main: Loop) -> None:
        super().__init__(main.scheduler)
        self._main = main
        self._others = cast("asyncio.AbstractEventLoop", main)

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        return self._main.call_soon(self._run, callback, args, context=context)

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        return self._main.call_soon(self._run, callback, args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        return self._main.call_at(when, self._run, callback, args, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._main.call_exception_handler(context)

    def _run(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        events._set_running_loop(self._itself)
        try:
            callback(*args)
        finally:
            events._set_running_loop(self._others)


if TYPE_CHECKING:
    _HandlersLoop = Counting
else:

    class _HandlersLoop(Counting, _Within):
        """As runtime.activity.CountingLoop is one over sockets."""

        _soon = _Within.call_soon


class Handlers:
    """The handlers of a node, in a loop of their own."""

    blocked = 0

    def __init__(self, node: Node) -> None:
        self._node = node
        self._loop: asyncio.AbstractEventLoop = _loop_of(node)

    async def run(self, job: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(job, self._loop))

    async def watch(self) -> None:
        """It cannot stand still without its node."""

    def close(self) -> None:
        """There is nothing to end."""


def _loop_of(node: Node) -> asyncio.AbstractEventLoop:
    loop: Any = _HandlersLoop(node.scheduler.loop)  # type: ignore[arg-type]  # it is _Within's when it runs

    def create_task(job: Any, **options: Any) -> asyncio.Task[Any]:
        task = counted(loop, job, **options)
        node.tasks.append(task)  # as those of the node's own loop
        return task

    loop.create_task = create_task
    return cast("asyncio.AbstractEventLoop", loop)
