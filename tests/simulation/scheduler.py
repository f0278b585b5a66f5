"""Virtual time for everybody, and an event loop for each node (a pod or a client).

Nothing takes time but what waits: a node runs until all of its tasks wait, then time moves on to what is due next.
Within a node callbacks run in the order in which asyncio would run them. What differs from seed to seed is when
messages arrive, and after which callback a node dies or stands still.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import Any, cast

from msgspec import Struct

EPOCH = 1_700_000_000.0
"""Unix seconds at which every history begins."""

LOOK_S = 0.05
"""How often it is asked whether a history is over."""


class Handle(Struct, eq=False):
    """What a loop has still to call. (A Struct, since a history makes thousands of them.)"""

    callback: Callable[..., Any] | None
    args: tuple[Any, ...]
    context: Context

    def cancel(self) -> None:
        """Lets it be."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Whether it was cancelled, or has run."""
        return self.callback is None


class Scheduler:
    """Time, and everything that is due. `rng` is where all chance of a history comes from."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self._due: list[tuple[float, int, Node | None, Any]] = []
        self._number = 0
        self.runnable: deque[Node] = deque()
        """Nodes that have something to do."""
        self.loop = Loop(self)
        self.trace: list[str] | None = None
        self.steps = 0

    def say(self, text: str) -> None:
        """Writes a line into the trace, if one is kept."""
        if self.trace is not None:
            self.trace.append(f"{self.now:10.6f} {text}")

    def after(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Calls back on behalf of nobody: a server, or the network."""
        self._number += 1
        heapq.heappush(self._due, (self.now + delay_s, self._number, None, callback))

    def later(self, when: float, node: Node, handle: Handle) -> None:
        """A timer of a node."""
        self._number += 1
        heapq.heappush(self._due, (when, self._number, node, handle))

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Runs until `until` holds, which is looked at every LOOK_S; False when time is over before."""
        due, runnable, pop = self._due, self.runnable, heapq.heappop
        look_at = self.now
        events._set_running_loop(cast("asyncio.AbstractEventLoop", self.loop))
        try:
            while True:
                while runnable:
                    runnable.popleft().turn()
                if self.now >= look_at or not due:
                    look_at = self.now + LOOK_S
                    if until():
                        return True
                    if not due or self.now > limit_s:
                        return False
                when, _, node, what = pop(due)
                if when > self.now:  # noqa: PLR1730  # a call for each of millions
                    self.now = when
                if node is None:
                    what()
                elif what.callback is not None:
                    node.add(what)
        finally:
            events._set_running_loop(None)


class Loop:
    """What asyncio and the engine see as the running event loop: that of the node whose turn it is.

    One for all nodes of a history, since telling asyncio of another one costs a system call each time.
    """

    get_debug = bool
    """It is False."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.node: Node | None = None
        self._itself = cast("asyncio.AbstractEventLoop", self)
        self.create_future: Callable[[], asyncio.Future[Any]] = partial(asyncio.Future, loop=self._itself)

    def time(self) -> float:
        return self.scheduler.now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        node = self.node
        assert node is not None, f"nobody's turn: {callback!r}"
        handle = Handle(callback, args, copy_context() if context is None else context)
        if node.in_turn:  # as nearly always; it is not dead then, and goes on until nothing is left
            node.ready.append(handle)
        else:
            node.add(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self.scheduler.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        assert self.node is not None, f"nobody's turn: {callback!r}"
        handle = Handle(callback, args, copy_context() if context is None else context)
        self.scheduler.later(when, self.node, handle)
        return handle

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        node = self.node
        assert node is not None, f"nobody's turn: {coro!r}"
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self._itself, name=name or "task", context=context)
        node.tasks.append(task)  # one that nobody keeps must not end when the garbage is collected
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """A thread that takes no time."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody caught. That a task of a node that ended was destroyed is no news."""
        if self.node is not None and not self.node.dead and "exception" in context:
            self.node.errors.append(f"{context.get('message')}: {context['exception']!r}")

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False


class Node:
    """One process: what its event loop has still to call. No sockets, and no threads."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self.dead = False
        self.frozen = False
        self.ends: Callable[[], None] | None = None
        """Called when `fuse` callbacks more have run: what a fault does amid its work."""
        self.fuse = -1
        self.errors: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.ready: deque[Handle] = deque()
        """What its loop has still to call."""
        self.in_turn = False
        self._queued = False
        self._context = copy_context()

    # -- life -----------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Runs what is ready until nothing is."""
        if self.frozen or self.dead:
            self._queued = False
            return
        ready, loop = self.ready, self.scheduler.loop
        take = ready.popleft
        loop.node, self.in_turn = self, True
        try:
            while ready:
                handle = take()
                callback = handle.callback
                if callback is None:
                    continue
                handle.callback = None
                try:
                    handle.context.run(callback, *handle.args)
                except Exception as error:
                    self.errors.append(f"{callback!r}: {error!r}")
                if self.fuse >= 0:
                    self.fuse -= 1
                    if self.fuse < 0:
                        assert self.ends is not None
                        self.ends()
                        if self.dead or self.frozen:
                            return
        finally:
            loop.node, self.in_turn = None, False
            self._queued = False

    def add(self, handle: Handle) -> None:
        """Something is ready to be called."""
        if self.dead:
            return
        self.ready.append(handle)
        if not self._queued and not self.frozen:
            self._queued = True
            self.scheduler.runnable.append(self)

    def kill(self) -> None:
        """Every task ends where it is, without a word; nothing of the node runs any more."""
        self.dead, self.in_turn = True, False
        self.ready.clear()

    def freeze(self) -> None:
        """Nothing runs, while time goes on and messages arrive."""
        self.frozen = True

    def wake(self) -> None:
        """Goes on, with all that has become due meanwhile."""
        if self.frozen:
            self.frozen = False
            if self.ready and not self._queued:
                self._queued = True
                self.scheduler.runnable.append(self)

    # -- from outside -----------------------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Has something called in this node's turn."""
        self.add(Handle(callback, args, self._context))

    def call_later(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        """Has something called in this node's turn, later."""
        self.scheduler.later(self.scheduler.now + delay_s, self, Handle(callback, args, self._context))

    def settle(self, answer: asyncio.Future[Any], value: Any) -> None:
        """An answer to this node has arrived: it is there in its next turn."""
        if self.dead or answer.done():
            return
        loop = self.scheduler.loop
        loop.node = self
        if isinstance(value, BaseException):
            answer.set_exception(value)
        else:
            answer.set_result(value)
        loop.node = None

    def start(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts a task in this node."""
        with self.entered():
            task: asyncio.Task[Any] = self.scheduler.loop.create_task(job)
        return task

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What is made here belongs to this node."""
        loop = self.scheduler.loop
        before, loop.node = loop.node, self
        running = events._get_running_loop()
        if running is None:
            events._set_running_loop(cast("asyncio.AbstractEventLoop", loop))
        try:
            yield
        finally:
            loop.node = before
            if running is None:
                events._set_running_loop(None)


class SimulatedClock:
    """The time of a scheduler, and chance of a node's own (runtime.clock.Clock)."""

    def __init__(self, scheduler: Scheduler, seed: int) -> None:
        self._scheduler = scheduler
        self._rng = random.Random(seed)
        self.random = self._rng.random

    def now(self) -> float:
        return EPOCH + self._scheduler.now

    def monotonic(self) -> float:
        return self._scheduler.now

    def token(self, n_bytes: int) -> str:
        return self._rng.randbytes(n_bytes).hex()
