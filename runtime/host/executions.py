"""Running what may wait: executions, and decisions that blocked the turns before.

An execution was accepted by a commit before it starts here, and ends by a commit that `finished` asks for. If the pod
dies in between, the lane's next owner starts it again, with the attempt counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from math import inf
from typing import Any

from runtime.errors import BadResult
from runtime.flow.paced import PacedSteps
from runtime.host import handling
from runtime.host.command import Command
from runtime.host.inquiries import Readings
from runtime.host.items import Finished, HandedOver, Start
from runtime.host.journals import Journal, Journals
from runtime.host.lane import Lane
from runtime.host.tasks import Tasks
from runtime.host.threads import Threads
from runtime.kind import Decided, Decision, Execution, Inquiry, Method, Read
from runtime.mail import Mail, Said
from runtime.sent import Asker
from runtime.suspension import Suspended

_log = logging.getLogger("troupe.executions")

_HAND_OVER = "handed over"

LOOK_S = 0.05
"""Seconds between two looks at what only waits while its lane is handed over."""


class NeverReturned(BadResult):
    """The handler did not return in time; its thread is left behind."""

    code = "handler_failed"


class HandlerCancelled(Exception):
    """The handler let an asyncio.CancelledError of its own making out."""


class HandlerExited(Exception):
    """The handler wanted to end the process."""


class _Run:
    """What runs here: its journal, and what was said before that was read, in which it may be missing.

    `stopped` when it is to end here and begin anew at the lane's next owner. One that was `suspended` is kept until
    that is committed: whether it has heard all that was said is seen only then.
    """

    __slots__ = ("early", "journal", "stopped", "suspended")

    def __init__(self) -> None:
        self.stopped = False
        self.early: list[Said] = []
        self.journal: Journal | None = None
        self.suspended = False


class Executions:
    """The running executions of a pod.

    Args:
        finished: puts a Finished into the next batch.
        asker: lets them ask others.
        journals: keep their steps.
        handler_timeout_s: how long a decision or read may take in a thread of its own; after it the thread is left.

    `left_behind` counts these threads.
    """

    def __init__(
        self,
        finished: Callable[[Finished], None],
        asker: Callable[[Start, Mail], Asker],
        journals: Journals,
        tasks: Tasks,
        handler_timeout_s: float,
        threads: Threads,
    ) -> None:
        self._finished = finished
        self._asker = asker
        self._journals = journals
        self._tasks = tasks
        self._handler_timeout_s = handler_timeout_s
        self.readings: Readings | None = None
        self._running: dict[int, str] = {}
        self._runs: dict[tuple[str, str], _Run] = {}
        self._innocent: dict[int, tuple[int, frozenset[tuple[str, str]]]] = {}
        self._threads = threads
        self.loop = threads.handlers(self.running)
        self.left_behind = 0

    def __len__(self) -> int:
        return len(self._runs)

    def running(self) -> list[str]:
        """The handlers that run, as `kind.method`."""
        return list(self._running.values())

    def start(self, start: Start) -> None:
        """Starts an execution whose acceptance is committed."""
        command = start.command
        place = (command.actor, command.id)
        if place in command.lane.active or not command.lane.alive:
            return
        run = self._runs[place] = _Run()
        task = command.lane.active[place] = self._tasks.start(self._run(start, run), f"running {command}")
        task.add_done_callback(lambda _: self._ended(place, run))  # also when it was cancelled before it began

    def committed(self, command: Command) -> None:
        """The end of an attempt is committed."""
        place = (command.actor, command.id)
        if command.lane.active.pop(place, None) is not None:
            self._runs.pop(place, None)

    def deliver(self, actor: str, said: Said) -> None:
        """Brings a committed message to its execution, if that runs in this pod; else the log keeps it."""
        run = self._runs.get((actor, said.message.run))
        if run is None:
            return
        if run.journal is None:
            run.early.append(said)
        else:
            run.journal.mail.post(said)

    def terminate(self, lane: Lane, place: tuple[str, str]) -> None:
        """Stops an execution (actor, command id) whose end is committed: nothing of it is recorded any more."""
        task, run = lane.active.pop(place, None), self._runs.pop(place, None)
        if run is not None and run.journal is not None:
            run.journal.stop()
        if task is not None:
            task.cancel()

    def cancel(self, lane: Lane) -> None:
        """Stops the executions of a lane that is lost: its next owner starts them again."""
        innocent = [place for place in lane.active if self._is_innocent(place)]
        self._innocent[lane.lane] = lane.epoch, frozenset(innocent)
        for place, task in lane.active.items():
            run = self._runs.get(place)
            if run is not None and run.journal is not None:
                run.journal.steps.stop()
            task.cancel()
            if run is not None and run.suspended:
                del self._runs[place]
        lane.active.clear()

    def excused(self, lane: Lane) -> frozenset[tuple[str, str]]:
        """Those that had no part in this lane's loss, if nobody else has had it since."""
        epoch, places = self._innocent.pop(lane.lane, (0, frozenset[tuple[str, str]]()))
        return places if epoch + 1 == lane.epoch else frozenset()

    def rest_until(self) -> float | None:
        """Until when all that runs here only waits (Unix seconds; inf for no time); None when something does not.

        A step that waits for its next attempt is not counted. For the event loop of handlers.
        """
        soonest = inf
        for run in self._runs.values():
            steps = run.journal.steps if run.journal is not None else None
            if isinstance(steps, PacedSteps) and steps.pausing:
                continue
            until = run.journal.mail.rests_until() if run.journal is not None and not run.suspended else None
            if until is None:
                return None
            soonest = min(soonest, until)
        return soonest

    def _is_innocent(self, place: tuple[str, str]) -> bool:
        """Whether nothing of an execution was being committed, which might have broken the connection to the log."""
        run = self._runs.get(place)
        return run is not None and not (run.journal is not None and run.journal.committing)

    def _is_idle(self, place: tuple[str, str]) -> bool:
        run = self._runs.get(place)
        return run is not None and run.journal is not None and run.journal.mail.idle

    def _ended(self, place: tuple[str, str], run: _Run) -> None:
        if self._runs.get(place) is run and not run.suspended:  # else it has been started anew since
            del self._runs[place]

    async def hand_over(self, lane: Lane, grace_s: float) -> None:
        """Waits for a lane's executions, then stops the rest so that the next owner restarts them at no cost."""
        begun = dict(lane.active)  # in order, unlike what asyncio.wait gives
        running = set(begun.values())
        deadline = asyncio.get_running_loop().time() + grace_s
        while running and (remaining := deadline - asyncio.get_running_loop().time()) > 0:
            for place, task in lane.active.items():
                if self._is_idle(place):
                    self._stop(place, task)  # what it waits for may come after this pod is gone
            _, running = await asyncio.wait(running, timeout=min(remaining, LOOK_S))
        for place, task in begun.items():
            if task in running:
                self._stop(place, task)
        if running:
            await asyncio.wait(running, timeout=1.0)

    def _stop(self, place: tuple[str, str], task: asyncio.Task[None]) -> None:
        """Ends an attempt that the next owner begins anew. A handler that catches this must not undo anything."""
        run = self._runs.get(place)
        if run is not None:
            run.stopped = True
            if run.journal is not None:
                run.journal.steps.stop()
        task.cancel(_HAND_OVER)

    async def _run(self, start: Start, run: _Run) -> None:
        command, method = start.command, start.kind.methods[start.command.method]
        decided: Decided | None = None
        error: BaseException | None = None
        journal: Journal | None = None
        self._running[id(start)] = f"{start.kind.name}.{method.name}"
        handling.execution(command)
        try:
            if command.lane.draining:  # it would only be stopped
                error = HandedOver()
            elif start.isolated:
                decided = await self._isolated(method, start)
            else:
                assert isinstance(method, Execution)
                journal = await self._journals.open(start)
                for said in run.early:
                    journal.mail.post(said)
                run.journal = journal
                command.lane.mails[command.actor, command.id] = journal.mail
                start.turn.asks_through(self._asker(start, journal.mail))
                journal.hand(start.turn)
                job = method.run(start.state, start.payload, start.turn)
                decided = await self.loop.run(_awaited(journal.through(job)))
        except asyncio.CancelledError as cancelled:
            if run.stopped or cancelled.args == (_HAND_OVER,):
                error = HandedOver()
            elif (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            else:  # nobody cancelled this task: the handler did it to itself
                error = HandlerCancelled("the handler ended with asyncio.CancelledError: something in it was cancelled")
        except TimeoutError as raised:
            error = raised if str(raised) else TimeoutError(f"{command} took longer than its time-out")
        except BaseException as raised:  # also SystemExit: a handler must not end the pod
            error = raised
            if isinstance(raised, Suspended):
                run.suspended = True
                raised.__traceback__ = None  # else the attempt stays in memory until a collection finds the cycle
        finally:
            self._running.pop(id(start), None)
            command.lane.mails.pop((command.actor, command.id), None)
            start.turn.release()
            self._ended((command.actor, command.id), run)
        if run.stopped and not isinstance(error, HandedOver):  # what came of its being stopped says nothing
            decided, error = None, HandedOver()
        if journal is not None:
            await journal.settle()
        self._finished(Finished(command.lane, command, start.holds, start.turn, decided, error))

    async def _isolated(self, method: Method, start: Start) -> Decided:
        """Runs a blocking decision or read in a thread of its own; a query that waits where handlers that wait run."""
        if isinstance(method, Inquiry):
            assert self.readings is not None  # a pod sets it before it reads any lane
            async with asyncio.timeout(self._handler_timeout_s):
                return Decided([], start.state, await self.readings.run(method, start))
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Decided] = loop.create_future()

        def work() -> None:
            decided: Decided | None = None
            error: BaseException | None = None
            try:
                decided = _decide(method, start)
            except BaseException as raised:  # also SystemExit: a handler must not end the thread unheard
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: the pod is gone
                loop.call_soon_threadsafe(_set, outcome, decided, error)

        name = f"troupe-{start.kind.name}.{method.name}"
        self._threads.start(partial(copy_context().run, work), name)
        try:
            async with asyncio.timeout(self._handler_timeout_s):
                return await outcome
        except TimeoutError:
            self.left_behind += 1
            text = (
                f"handler {start.kind.name}.{method.name} did not return within {self._handler_timeout_s:g} s; its "
                "thread is left behind until the pod ends: make it an async write handler or a function with a time-out"
            )
            _log.error("%s: %s", start.command, text)
            raise NeverReturned(text) from None


async def _awaited(job: Awaitable[Decided]) -> Decided:
    try:
        return await job
    except (SystemExit, KeyboardInterrupt) as error:
        # asyncio lets these two through to the loop itself, which would end with every handler in it.
        raise HandlerExited(f"the handler ended with {type(error).__name__}: {error}") from error


def _decide(method: Method, start: Start) -> Decided:
    if isinstance(method, Decision):
        return method.decide(start.state, start.payload, start.turn)
    assert isinstance(method, Read)
    return Decided([], start.state, method.read(start.state, start.payload, start.turn))


def _set(outcome: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if outcome.done():
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
