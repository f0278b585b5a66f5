"""One history: pods, clients, a store and a broker, a program and faults, all from one seed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
import sys
import warnings
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import cycle
from typing import Any

import msgspec

from runtime.client import Client
from runtime.errors import NotConnected, TroupeError
from runtime.host import committer, housekeeping, shares
from runtime.host import pod as pods
from runtime.host.pod import Pod
from runtime.host.ports import LogUnavailable
from runtime.host.settings import PodSettings
from runtime.jetstream import reader
from runtime.suspension import Suspended
from schemas.address import actor_id
from tests.simulation import verify
from tests.simulation.assembly import SimulatedAssembly
from tests.simulation.broker import Broker
from tests.simulation.clients import ASK_S, PAUSE_S, Done, Look, Told, Work, complete
from tests.simulation.errands import outside
from tests.simulation.faults import LOAD_S, TRIM_LAG_S, Fault, draw_faults, strike
from tests.simulation.kinds import KINDS
from tests.simulation.log import Line
from tests.simulation.program import FRAIL, draw_program
from tests.simulation.scheduler import Node, Scheduler, SimulatedClock
from tests.simulation.store import GROUP, Store
from tests.simulation.watching import Watch, caught_up, draw_sessions, start_watching
from tests.simulation.wire import Wire

PARTITIONS = 3
PODS = 2
CLIENTS = 2
EACH = 25
"""Commands of one client."""

LIMIT_S = 60.0
"""Virtual seconds after which what has not come to rest is stuck."""

TTL_S = 0.8

# A history lasts seconds: what the engine does every few of them, it is to do within one.
housekeeping.EVERY_S = 0.7
# It has dozens of batches: after one that could not be committed in one round trip, few of them take two.
committer.WARY_BATCHES = 4

USUAL = (reader.CROWDED, shares.WINDOW, shares.ROOM_APART, shares.LOOK_S)
DIVIDED = (0, 3, 2, 0.1)
"""The same constants in histories whose lanes are divided again and again (docs/adr/0026)."""

# A process has one pod, as a rule; here it has thousands, all with the same kinds.
pods._capability = lru_cache(pods._capability)


@dataclasses.dataclass(slots=True, eq=False)
class PodNode:
    """A pod and where it runs."""

    node: Node
    line: Line
    pod: Pod
    group: str
    wire: Wire | None = None
    started: bool = False
    leaving: bool = False


@dataclasses.dataclass(slots=True, eq=False)
class ClientNode:
    """A client and where it runs."""

    node: Node
    wire: Wire
    client: Client


class History:
    """Builds everything from a seed; `run` lets it happen.

    `only` names faults that take turns, else all may be; `surely` a kind that clients command in any case. In
    `divided` ones, by default those of each fourth seed, lanes are divided though there is a single tenant.
    """

    def __init__(
        self,
        seed: int,
        *,
        trace: bool = False,
        only: Sequence[str] = (),
        surely: str = "",
        divided: bool | None = None,
    ) -> None:
        self.seed = seed
        self.divided = seed % 4 == 3 if divided is None else divided
        constants = DIVIDED if self.divided else USUAL
        reader.CROWDED, shares.WINDOW, shares.ROOM_APART, shares.LOOK_S = constants
        rng = random.Random(seed)
        self.sessions = draw_sessions(rng)
        self.program = draw_program(rng, CLIENTS, EACH, self.sessions, surely)
        self.faults: list[Fault] = draw_faults(rng)
        if only:
            drawn = zip(self.faults, cycle(only), strict=False)
            self.faults = [dataclasses.replace(one, what=what) for one, what in drawn]
        self.max_batch = rng.choice((3, 512, 512, 512, 512))
        self.suspend_after_s = rng.choice((0.2, 30.0))
        self.scheduler = Scheduler(rng.getrandbits(64))
        outside.begin(self.scheduler, self._on_token)
        if trace:
            self.scheduler.trace = []
        self.store = Store(self.scheduler, PARTITIONS, [kind.name for kind in KINDS])
        self.broker = Broker(self.scheduler, PARTITIONS)
        self.store.may_go_back = any(fault.what == "power cut" for fault in self.faults)
        self.pods: list[PodNode] = []
        self.nodes: list[Node] = []
        self.clients: list[ClientNode] = []
        self.done: list[Done] = []
        self.looks: list[Look] = []
        self.told: list[Told] = []
        self.watches: list[Watch] = []
        self.problems: list[str] = []
        self.known: dict[str, int] = {}
        """Actor → the highest sequence that any client has been told."""
        self.working = 0
        self.striking = len(self.faults)
        self._resuming = False
        self._look_at = 0.0
        self.uncertain_until = -1.0

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _node(self, name: str) -> Node:
        node = Node(self.scheduler, name)
        self.nodes.append(node)
        return node

    def start_pod(self, group: str = GROUP) -> None:
        """A new pod of a group, in a process of its own."""
        number = len(self.nodes)
        node = self._node(f"pod{number}")
        line = Line(node, self.store)
        clock = SimulatedClock(self.scheduler, self.scheduler.rng.getrandbits(32))
        settings = PodSettings(
            "", "", group=group, partitions=PARTITIONS, lease_ttl_s=TTL_S, heartbeat_s=0.27, balance_s=0.4,
            max_batch=self.max_batch, drain_s=1.0, trim_lag_s=TRIM_LAG_S, idle_s=1.5,
            suspend_after_s=self.suspend_after_s,
        )  # fmt: skip

        def wire_of(on_reconnect: Any) -> Wire:
            here.wire = Wire(node, self.broker, on_reconnect)
            return here.wire

        with node.entered():
            pod = Pod(settings, KINDS, clock, assembly=SimulatedAssembly(line, wire_of, group, TTL_S))
            here = PodNode(node, line, pod, group)
        self.scheduler.say(f"{node.name} starts as {pod.id}")
        self.pods.append(here)
        node.start(self._serve(here))

    async def _serve(self, here: PodNode) -> None:
        try:
            await here.pod.start()
        except (LogUnavailable, NotConnected, TimeoutError) as error:
            self.scheduler.say(f"{here.node.name} cannot start: {error}")
            if here in self.pods:
                self.kill(here)
            self.scheduler.after(0.3, partial(self.start_pod, here.group))
            return
        here.started = True
        if here.leaving:
            await self._leave(here)
            return
        await here.pod.failed.wait()
        self.problems.append(f"{here.node.name}: a part of it failed")

    def kill(self, here: PodNode) -> None:
        """SIGKILL: what it has sent travels on, and nothing else of it is ever seen."""
        self.scheduler.say(f"{here.node.name} dies")
        here.node.kill()
        if here.wire is not None:
            here.wire.cut()
        if here in self.pods:
            self.pods.remove(here)
        self.scheduler.after(0.05, lambda: self.store.gone(here.pod.id))

    def stop(self, here: PodNode) -> None:
        """SIGTERM."""
        self.scheduler.say(f"{here.node.name} leaves")
        self.pods.remove(here)
        here.leaving = True
        if here.started:
            here.node.start(self._leave(here))

    async def _leave(self, here: PodNode) -> None:
        await here.pod.stop()
        self.kill(here)

    def pick_pod(self, which: float) -> PodNode | None:
        """One of the pods."""
        return self.pods[int(which * len(self.pods))] if self.pods else None

    # -- clients ----------------------------------------------------------------------------------------------------

    def client_node(self, name: str) -> ClientNode:
        """A new client, in a process of its own."""
        node = self._node(name)
        with node.entered():
            wire = Wire(node, self.broker)
            client = Client(wire, "default", SimulatedClock(self.scheduler, self.scheduler.rng.getrandbits(32)))
        here = ClientNode(node, wire, client)
        self.clients.append(here)
        return here

    def _on_token(self, place: str, token: str) -> None:
        """Somebody has a token, and uses it in a while."""
        rng = self.scheduler.rng
        here = self.clients[int(rng.random() * CLIENTS)]

        def use() -> None:
            here.node.start(complete(self, here.client, place, token))

        self.scheduler.after(0.3 * rng.random() ** 2, use)

    def promote(self, group: str) -> None:
        """A person makes another group the current one, and asks until that is done."""
        self.clients[0].node.start(self._promote(group))

    async def _promote(self, group: str) -> None:
        while True:
            try:
                done = await self.clients[0].client.service("promote", {"group": group}, timeout_s=ASK_S)
                break
            except TroupeError as error:
                self.scheduler.say(f"promoting {group} waits: {error}")
                await asyncio.sleep(PAUSE_S)
        self.scheduler.say(f"promoted: {done}")
        self.striking -= 1

    def restore(self, backup: dict[str, Any]) -> None:
        """A backup is put back. What clients know may not be so any more."""
        self.scheduler.say("a backup is put back")
        self.store.restore(backup)
        self.known.clear()
        self.uncertain_until = self.scheduler.now + 3 * TTL_S

    # -- its course -------------------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """What was wrong, or nothing."""
        scheduler = self.scheduler
        for _ in range(PODS):
            self.start_pod()
        self.working = CLIENTS
        for number, rounds in enumerate(self.program):
            here = self.client_node(f"client{number}")
            here.node.start(Work(self, here.client).run(rounds))
        start_watching(self)
        for fault in self.faults:
            scheduler.after(fault.at, partial(self._strike, fault))
        try:
            if scheduler.run(self._over, LIMIT_S):
                self.problems += verify.verify(self)
            else:
                self.problems.append(f"after {scheduler.now:.1f} s it has not come to rest: {self._what_waits()}")
        finally:
            for node in self.nodes:
                self.problems += [f"{node.name}: {error}" for error in node.errors]
            self._dispose()
        return self.problems

    def _strike(self, fault: Fault) -> None:
        self.striking -= 1
        strike(self, fault)

    def _over(self) -> bool:
        now, store = self.scheduler.now, self.store
        if self.problems:
            return True
        if store.paused and now > LOAD_S and not self._resuming:
            self._resuming = True
            self.clients[0].node.start(self._resume())
        if self.working or self.striking or now < LOAD_S or now < self._look_at or not self._settled():
            return False
        # What was committed last may still be on its way to who has to know it.
        self._look_at, looked = now + 0.2, self._look_at
        return looked > 0

    def _settled(self) -> bool:
        """Whether nothing waits in the log or in the broker."""
        store = self.store
        if any(store.outbox[lane] for lane in store.lanes) or store.timers or store.locks:
            return False
        for actor, rows in store.pending.items():
            if rows and actor not in store.paused:
                return False
        for row in store.lanes.values():
            seqs = self.broker.commands.of(f"p.{row.partition}.>")
            if seqs and seqs[-1] > row.checkpoint and not row.standby:
                return False
        return not store.paused and self._rested() and caught_up(self)

    def _rested(self) -> bool:
        """Whether every lane is in the hands of a living pod that knows it."""
        for number, row in self.store.lanes.items():
            if row.standby:
                continue
            for here in self.pods:
                lane = here.pod.lanes.get(number)
                if lane is not None and here.pod.id == row.owner and lane.epoch == row.epoch and not here.node.frozen:
                    break
            else:
                return False
        return True

    async def _resume(self) -> None:
        """A person lets paused actors go on."""
        client = self.clients[0].client
        by_actor = {actor_id("default", "frail", key): key for key in FRAIL}
        for actor in list(self.store.paused):
            body = msgspec.json.encode({"what": "resume", "by": "a person"})
            while True:
                try:
                    await client.read("frail", by_actor[actor], "$order", body, timeout_s=ASK_S)
                    break
                except TroupeError as error:
                    self.scheduler.say(f"resuming waits: {error}")
                    if actor not in self.store.paused:
                        break
                    await asyncio.sleep(PAUSE_S)
        self._resuming = False

    def _what_waits(self) -> str:
        store = self.store
        waits = {
            "workers": self.working,
            "outbox": sum(len(rows) for rows in store.outbox.values()),
            "timers": len(store.timers),
            "pending": [
                (row.method, row.command_id, row.state) for rows in store.pending.values() for row in rows.values()
            ],
            "lanes": [
                (row.lane, row.group, row.owner, row.epoch, row.checkpoint,
                 self.broker.commands.of(f"p.{row.partition}.>")[-1:])
                for row in store.lanes.values()
            ],
            "pods": [(here.node.name, here.pod.id, sorted(here.pod.lanes)) for here in self.pods],
            "paused": len(store.paused),
            "locks": list(store.locks),
        }
        return str(waits)

    def _dispose(self) -> None:
        """Ends every task where it is, so that nothing of this history runs in the next one."""
        alive = {node: not node.dead for node in self.nodes}
        for node in self.nodes:
            node.kill()
        for here in self.clients:
            here.wire.cut()
        for pod in self.pods:
            if pod.wire is not None:
                pod.wire.cut()
        loop: Any = self.scheduler.loop
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some had not even begun
            for node in self.nodes:
                for task in node.tasks:
                    if task.done():
                        # Whether nobody has seen its exception. (Of an attempt at a run that was lost nobody does.)
                        if task._log_traceback and task.get_loop() is loop:
                            error = task.exception()
                            if not alive[node]:
                                continue
                            self.problems.append(f"{node.name}: a task failed: {error!r}")
                    else:
                        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own switch
                        # It would wait while it ends, or says why it ended before.
                        with node.entered(), contextlib.suppress(RuntimeError, Suspended, asyncio.CancelledError):
                            task.get_coro().close()
        sys.unraisablehook = hook
        outside.end()


class Tracing(logging.Handler):
    """What the engine logs, as lines of the trace."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def emit(self, record: logging.LogRecord) -> None:
        self._scheduler.say(f"{record.name}: {record.getMessage()}")
