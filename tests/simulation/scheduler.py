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
from typing import Any, cast

EPOCH = 1_700_000_000.0
"""Unix seconds at which every history begins."""

LOOK_S = 0.02
"""How often it is asked whether a history is over."""


class Handle:
    """What a loop has still to call."""

    __slots__ = ("args", "callback", "context", "when")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, when: float) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.context = context
        self.when = when

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
        self._runnable: deque[Node] = deque()
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

    def later(self, node: Node, handle: Handle) -> None:
        """A timer of a node."""
        self._number += 1
        heapq.heappush(self._due, (handle.when, self._number, node, handle))

    def runnable(self, node: Node) -> None:
        """A node has something to do."""
        self._runnable.append(node)

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Runs until `until` holds, which is looked at every LOOK_S; False when time is over before."""
        due, runnable, pop = self._due, self._runnable, heapq.heappop
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
                self.now = max(self.now, when)
                if node is None:
                    what()
                elif what.callback is not None and not node.dead:
                    node.add(what)
        finally:
            events._set_running_loop(None)


class Loop:
    """What asyncio and the engine see as the running event loop: that of the node whose turn it is.

    One for all nodes of a history, since telling asyncio of another one costs a system call each time.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.node: Node | None = None

    def time(self) -> float:
        return self._scheduler.now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        node = self.node
        assert node is not None, f"nobody's turn: {callback!r}"
        handle = Handle(callback, args, context or copy_context(), 0.0)
        if not node.dead:
            node.add(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self._scheduler.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        assert self.node is not None, f"nobody's turn: {callback!r}"
        handle = Handle(callback, args, context or copy_context(), when)
        self._scheduler.later(self.node, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast("asyncio.AbstractEventLoop", self))

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        node = self.node
        assert node is not None, f"nobody's turn: {coro!r}"
        task: asyncio.Task[Any] = asyncio.Task(
            coro, loop=cast("asyncio.AbstractEventLoop", self), name=name or "task", context=context
        )
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

    def get_debug(self) -> bool:
        return False

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
        self._ready: deque[Handle] = deque()
        self._queued = False

    # -- life -----------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Runs what is ready until nothing is."""
        self._queued = False
        if self.frozen or self.dead:
            return
        ready, loop = self._ready, self.scheduler.loop
        loop.node = self
        try:
            while ready:
                handle = ready.popleft()
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
            loop.node = None

    def add(self, handle: Handle) -> None:
        """Something is ready to be called."""
        self._ready.append(handle)
        if not self._queued and not self.frozen:
            self._queued = True
            self.scheduler.runnable(self)

    def kill(self) -> None:
        """Every task ends where it is, without a word; nothing of the node runs any more."""
        self.dead = True
        self._ready.clear()

    def freeze(self) -> None:
        """Nothing runs, while time goes on and messages arrive."""
        self.frozen = True

    def wake(self) -> None:
        """Goes on, with all that has become due meanwhile."""
        if self.frozen:
            self.frozen = False
            if self._ready and not self._queued:
                self._queued = True
                self.scheduler.runnable(self)

    # -- from outside -----------------------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Has something called in this node's turn."""
        if not self.dead:
            self.add(Handle(callback, args, copy_context(), 0.0))

    def call_later(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        """Has something called in this node's turn, later."""
        self.scheduler.later(self, Handle(callback, args, copy_context(), self.scheduler.now + delay_s))

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this node's, to be settled in its turn."""
        return self.scheduler.loop.create_future()

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
