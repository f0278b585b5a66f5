"""A pod put together from a store, a broker and threads that are none (runtime.host.parts.Assembly)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from runtime.client.objects import Objects
from runtime.clock import Clock
from runtime.host.broker import Deliver
from runtime.host.parts import Parts
from runtime.host.reading import Groups, LogReader
from runtime.host.turn_thread import SLOW_S
from runtime.jetstream.publisher import JetStreamPublisher
from runtime.jetstream.reader import CommandReader
from tests.simulation.groups import SimulatedGroups
from tests.simulation.handlers import Handlers
from tests.simulation.log import (
    Line,
    SimulatedCommitLog,
    SimulatedKeeping,
    SimulatedOwnership,
    SimulatedReader,
    SimulatedSnapshots,
    SimulatedTimers,
)
from tests.simulation.scheduler import Node
from tests.simulation.wire import SimulatedStream, Wire

if TYPE_CHECKING:
    from runtime.host.front import Registered

THINKS_P = 0.2
"""How often a batch's turns take time."""


class Thread:
    """A turn thread: its jobs run at one moment, now and then a little later."""

    def __init__(self, node: Node) -> None:
        self._rng = node.scheduler.rng

    async def run(
        self, job: Callable[[], None], timeout_s: float = SLOW_S, progress: Callable[[], object] = lambda: None
    ) -> None:
        if self._rng.random() < THINKS_P:
            await asyncio.sleep(0.003 * self._rng.random())
        job()

    def close(self) -> None:
        """There is nothing to end."""


class Watch:
    """A watchdog with nothing to watch: a node stands still as a whole."""

    def start(self) -> None:
        """It watches nothing."""

    async def tick(self) -> None:
        """Nobody listens."""

    def stop(self) -> None:
        """It watches nothing."""


class SimulatedThreads:
    """The Threads port of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def turns(self) -> Thread:
        return Thread(self._node)

    def handlers(self, running: Callable[[], list[str]]) -> Handlers:
        return Handlers(self._node)

    def watchdog(self, limit_s: float) -> Watch:
        return Watch()

    def start(self, job: Callable[[], object], name: str) -> None:
        self._node.call_later(0.001 * self._node.scheduler.rng.random(), job)


class _NoFront:
    async def open(self) -> None:
        """Nobody calls it here."""

    async def close(self) -> None:
        """Nobody calls it here."""


class SimulatedAssembly:
    """Assembles the pod of one node."""

    log_name = "the simulated log"

    def __init__(
        self, line: Line, wire_of: Callable[[Callable[[], Awaitable[None]]], Wire], group: str, ttl_s: float
    ) -> None:
        self._line = line
        self._group = group
        self._wire_of = wire_of
        self._ttl_s = ttl_s

    async def connect(self, pod: str, on_reconnect: Callable[[], Awaitable[None]]) -> Wire:
        return self._wire_of(on_reconnect)

    async def prepare(self) -> bytes:
        return b"the secret of simulated pods"

    def parts(
        self, connection: Any, pod: str, capabilities: Mapping[str, str], deliver: Deliver, clock: Clock
    ) -> Parts:
        line = self._line
        return Parts(
            ownership=SimulatedOwnership(line, pod, self._group, capabilities),
            log=SimulatedCommitLog(line, pod, self._ttl_s),
            reader=cast("LogReader", SimulatedReader(line, capabilities)),
            timers=SimulatedTimers(line),
            snapshots=SimulatedSnapshots(line),
            keeping=SimulatedKeeping(line),
            groups=cast("Groups", SimulatedGroups(line)),
            objects=Objects(connection),
            publisher=JetStreamPublisher(connection),
            commands=CommandReader(connection, list(capabilities), deliver, clock),
            stream=SimulatedStream(connection),
            threads=SimulatedThreads(line.node),
        )

    def front(self, connection: Any, registered: Registered, partitions: int, token: str) -> _NoFront:
        return _NoFront()
