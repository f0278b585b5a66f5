"""Fetching bodies from the object store, as many as memory has room for.

A command whose body is there heads its lane's backlog until the body has come; the other lanes do not wait. Its size is
asked first and counts towards the limit of what a pod's mailboxes hold. One fetched body fits at any time, so that
every lane gets on however full they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from runtime.client.objects import Objects
from runtime.errors import CallFailed
from runtime.host.command import Command
from runtime.host.lane import Lane
from runtime.host.tasks import Tasks
from schemas import headers as names
from schemas.digest import digest_of
from schemas.wire import Failure

T = TypeVar("T")

_log = logging.getLogger("troupe.bodies")

AT_ONCE = 4
"""Bodies of one lane that are fetched side by side."""

RETRY_S = 0.5
LOOK_AGAIN_S = 0.05


class LaneLost(Exception):
    """The lane is another pod's now, which fetches what is needed itself."""


class Bodies:
    """The bodies of one pod's commands. `came` is called with a lane when one of its commands can go on."""

    def __init__(self, objects: Objects, tasks: Tasks, came: Callable[[Lane], None]) -> None:
        self._objects = objects
        self._tasks = tasks
        self._came = came
        self._wanted: dict[Lane, deque[Command]] = {}

    def fetch(self, command: Command) -> None:
        """Fetches the body of a command of the stream, after those asked for before it in its lane."""
        command.absent = True
        lane = command.lane
        if lane in self._wanted:
            self._wanted[lane].append(command)
        else:
            self._wanted[lane] = deque([command])
            self._tasks.start(self._serve(lane), f"fetching bodies of lane {lane.lane}")

    async def _serve(self, lane: Lane) -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        wanted = self._wanted[lane]
        try:
            while wanted:
                command = wanted.popleft()
                await slots.acquire()
                # In the order of the stream: what a lane needs next is never kept out by what it needs later.
                size = await self._settled(command, self._admit(command))
                if size is None:
                    slots.release()
                    continue
                task = self._tasks.start(self._get(command, size), f"fetching the body of {command}")
                task.add_done_callback(lambda _: slots.release())
        except LaneLost:
            pass
        finally:
            del self._wanted[lane]

    async def _admit(self, command: Command) -> int:
        """The size of a body, counted as held once there is room for it."""
        lane = command.lane
        size = await self._patiently(lane, lambda: self._objects.size(command.headers[names.OBJECT]))
        while not lane.admit(size):
            await asyncio.sleep(LOOK_AGAIN_S)
            if not lane.alive:
                raise LaneLost
        command.fetched = size
        return size

    async def _get(self, command: Command, size: int) -> None:
        lane, name = command.lane, command.headers[names.OBJECT]
        try:
            body = await self._settled(command, self._patiently(lane, lambda: self._objects.get(name, size)))
        except LaneLost:
            return
        if body is not None:
            command.body, command.digest = body, digest_of(command.method, body)
            del command.headers[names.OBJECT]  # whatever is kept of the command holds the body itself
            command.absent = False
            self._came(lane)

    async def _patiently(self, lane: Lane, ask: Callable[[], Awaitable[T]]) -> T:
        """What the object store says, however long the broker is away. Raises LaneLost and CallFailed."""
        while lane.alive:
            try:
                return await ask()
            except CallFailed as error:
                if error.code != "unavailable":
                    raise
                _log.warning("%s", error)
                await asyncio.sleep(RETRY_S)
        raise LaneLost

    async def _settled(self, command: Command, job: Awaitable[T]) -> T | None:
        """What `job` gives, or None when it failed: then the command goes on, to be parked."""
        try:
            return await job
        except LaneLost:
            raise
        except CallFailed as error:
            command.problem = Failure(error.code, str(error))
        except Exception as error:  # anybody may write to the object store
            _log.exception("the body of %s cannot be read", command)
            command.problem = Failure("bad_request", f"its body cannot be read: {error!r}")
        command.parks = True
        command.absent = False
        self._came(command.lane)
        return None
