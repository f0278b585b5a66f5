"""A pod: one process that owns lanes and runs their actors. What it is put together from is its assembly's."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from runtime.clock import Clock, LogTime, system_clock
from runtime.errors import Misconfigured, NotConnected
from runtime.host.aftermath import Aftermath
from runtime.host.alarms import Alarms
from runtime.host.asking import Asking
from runtime.host.assembly import Servers
from runtime.host.bodies import Bodies
from runtime.host.broker import Feed
from runtime.host.catalogue import Catalogue
from runtime.host.command import from_stream
from runtime.host.committer import Committer
from runtime.host.executions import Executions
from runtime.host.front import Registered
from runtime.host.housekeeping import Housekeeping
from runtime.host.identity import Identity
from runtime.host.inquiries import Readings
from runtime.host.items import Expire, Next, Rerun
from runtime.host.journals import Journals
from runtime.host.lane import Activation, Activations, Lane, Mailboxes
from runtime.host.large import Large
from runtime.host.leases import Leases
from runtime.host.loading import Loader, Snapshotter
from runtime.host.meter import Meter
from runtime.host.observer import Observer
from runtime.host.outbox import Outbox
from runtime.host.parts import Assembly
from runtime.host.places import only
from runtime.host.ports import LogUnavailable, Taken
from runtime.host.quotas import Backlogs, Quotas
from runtime.host.reads import Reads
from runtime.host.residence import Residence
from runtime.host.retaining import Retaining
from runtime.host.screens import Screens
from runtime.host.services import Services
from runtime.host.settings import PodSettings
from runtime.host.shares import Sharing
from runtime.host.sleepers import Sleepers
from runtime.host.tasks import Tasks
from runtime.host.timers import Timers
from runtime.kind import Kind
from runtime.version import VERSION
from schemas import headers as names
from schemas.address import Address
from schemas.subjects import SERVICE_QUEUE, lanes_moved
from schemas.wire import Info

_log = logging.getLogger("troupe.pod")

SWITCH_INTERVAL_S = 0.001
STALLED_AFTER_LEASES = 2.0
FLUSH_S = 2
"""How long the broker may take to hear a leaving pod's last answers."""


class Pod:
    """One pod. `await start()`, then `await stop()`.

    Args:
        settings: see PodSettings.
        kinds: the kinds it serves; each belongs to the pod's group.
        telemetry: watches its batches; None costs nothing.
        assembly: what it is put together from; the servers of its settings by default, which must be one place then.
    """

    def __init__(
        self,
        settings: PodSettings,
        kinds: Iterable[Kind],
        clock: Clock = system_clock,
        telemetry: Observer | None = None,
        assembly: Assembly | None = None,
    ) -> None:
        self.settings = settings
        self.kinds: dict[str, Kind] = {}
        for kind in kinds:
            if self.kinds.setdefault(kind.name, kind) is not kind:
                raise Misconfigured(f"two kinds are named {kind.name!r}: a kind's name is its address, so rename one")
        if not self.kinds:
            raise Misconfigured("a pod needs at least one kind: name a module that defines an entity or a function")
        self.assembly: Assembly = assembly or Servers(settings, only(settings, self.kinds), self.kinds)
        self.clock = clock if isinstance(clock, LogTime) else LogTime(clock)
        self.telemetry = telemetry
        self.id = f"{settings.group}-{clock.token(6)}"
        self.meter = Meter()
        self.activations = Activations(settings.max_activations, settings.idle_s)
        self.lanes: dict[int, Lane] = {}
        self.failed = asyncio.Event()
        """Set when the pod cannot go on."""
        self.mailboxes = Mailboxes()
        self._by_feed: dict[Feed, Lane] = {}
        self._by_partition: dict[int, Lane] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._background = Tasks(self._on_task_failed)

    # -- life -----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connects, registers and begins to take lanes.

        Raises NotConnected or LogUnavailable when a server cannot be reached, Misconfigured when the pod cannot work as
        it is set up; nothing is left open then.
        """
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise

    async def _start(self) -> None:
        settings = self.settings
        # A handler that computes in the turn thread gives way to the event loop this often.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self.connection = await self.assembly.connect(self.id, self._on_reconnect)
        self._wire(await self.assembly.prepare())
        await self.leases.note_log()
        partitions, self.log_id = await self.ownership.register(settings.partitions)
        info = Info(partitions, VERSION, self.log_id)
        self.services = Services(self.reader, self.groups, info, self._post, self.large.send, self.clock)
        registered = Registered(self._served, self.reader.capabilities, self.clock.monotonic)
        self.front = self.assembly.front(self.connection, registered, partitions, f"pod{self.clock.token(6)}")
        await self.commands.open()
        await self.publisher.open()
        await self.front.open()
        for name in self.services.names:
            await self.connection.subscribe_direct(f"svc.{name}", self.services.on_message, queue=SERVICE_QUEUE)
        await self.connection.subscribe_direct(lanes_moved(settings.group), lambda *_: self.leases.look_now())
        self.watchdog.start()
        for job in (
            self.committer.run(),
            self.commands.watch(),
            self.leases.beat(),
            self.leases.balance(),
            self.timers.run(),
            self.sleepers.run(self.alarms.set),
            self.snapshotter.run(),
            self.executions.loop.watch(),
            self.housekeeping.run(),
            self.residence.run(),
            self.watchdog.tick(),
            self.sharing.run(),
            Backlogs(self.id, Quotas(settings.tenant_backlog), self.sharing.waiting, self._post).run(),
            *self.retaining.jobs(),
        ):
            self._tasks.append(asyncio.ensure_future(self._guard(job)))

    def _wire(self, secret: bytes) -> None:
        settings = self.settings
        capabilities = {kind.name: _capability(kind, settings) for kind in self.kinds.values()}
        parts = self.assembly.parts(self.connection, self.id, capabilities, self._on_command, self.clock)
        self._closing = (
            parts.ownership, parts.log, parts.reader, parts.timers, parts.snapshots, parts.keeping, parts.groups,
            *([parts.archiver] if parts.archiver else ()), *([parts.index] if parts.index else ()),
        )  # fmt: skip
        self.ownership, self.reader, self.groups = parts.ownership, parts.reader, parts.groups
        self.publisher, self.commands, self.objects = parts.publisher, parts.commands, parts.objects
        self.identity = Identity(settings.signing_key, secret)
        self.snapshotter = Snapshotter(parts.snapshots, self.kinds)
        self.loader = Loader(self.reader, parts.snapshots, self._on_loaded, self.clock.monotonic, self._background)
        self.watchdog = parts.threads.watchdog(settings.lease_ttl_s * STALLED_AFTER_LEASES)
        self.residence = Residence(self.activations, self.clock, settings.max_resident_mb)
        self.leases = Leases(
            self.ownership,
            self.id,
            settings.group,
            self.clock,
            ttl_s=settings.lease_ttl_s,
            heartbeat_s=settings.heartbeat_s,
            balance_s=settings.balance_s,
            took=self._on_taken,
            lost=self.lose,
            replaced=self._on_log_replaced,
            drain=self._drain,
            released=lambda group: self._post(lanes_moved(group), b""),
            tasks=self._background,
        )
        self.leases.lanes = self.lanes
        self.sharing = Sharing(
            self.commands, parts.stream, parts.keeping, self._by_feed.__setitem__,
            lambda feed: self._by_feed.pop(feed, None), self._on_divided_back,
        )  # fmt: skip
        self.aftermath = Aftermath(self)
        self.committer = Committer(
            parts.log,
            self.kinds,
            self.activations,
            self.clock,
            self.meter,
            max_batch=settings.max_batch,
            after=self.aftermath.follow,
            lost=self._on_log_lost,
            principal_of=self.identity.principal_of,
            identity=self.identity,
            turns=parts.threads.turns(),
        )
        self.committer.observer = self.telemetry
        self.sleepers = Sleepers(parts.timers, lambda: list(self.lanes.values()), self.clock)
        self.alarms = Alarms(self.committer.put, self.sleepers.later)
        catalogue = Catalogue(self.reader.capabilities, self.clock.monotonic)
        self.asking = Asking(self.connection, self.clock, self.identity, catalogue)
        self.executions = Executions(
            self.committer.put,
            self.asking.asker,
            Journals(
                self.reader,
                self.committer.put,
                self.clock,
                settings.suspend_after_s,
                self.leases.certain,
                settings.partitions,
                secret,
                parts.handling,
                Screens(self._post, self.clock),
            ),
            self._background,
            settings.handler_timeout_s,
            parts.threads,
        )
        self.large = Large(self.objects, self._post, self._max_payload, self.clock.token, self._background)
        self.outbox = Outbox(self.publisher, self.committer.put, self._background, self.large)
        self.bodies = Bodies(self.objects, self._background, self.committer.ungate)
        self.timers = Timers(parts.timers, lambda: list(self.lanes.values()), self.committer.put, self.clock)
        readings = Readings(self.executions.loop, self.reader, parts.index, settings.partitions)
        self.executions.readings = readings
        self.reads = Reads(
            self.kinds, self.activations, self._by_partition.get, self.leases.valid, self.committer.put, self.reader,
            self._post, self.clock.now, self.objects.get, self.large.send,
            settings.handler_timeout_s, parts.threads, self.committer.settled,
            readings,
        )  # fmt: skip
        self.housekeeping = Housekeeping(
            parts.stream,
            self.commands,
            parts.keeping,
            lambda: list(self.lanes.values()),
            self.committer.put,
            self.clock,
            self.objects.get,
            trim_lag_s=settings.trim_lag_s,
            inbox_window_s=settings.inbox_window_s,
            runs_window_s=settings.runs_window_s,
            oldest_elsewhere=parts.oldest_elsewhere,
            first_partition=parts.first_partition,
        )
        self.retaining = Retaining(
            parts.archiver, self.kinds, lambda: list(self.lanes.values()), settings.archive_every_s
        )

    def time_moved(self, seconds: float) -> None:
        """The log's clock has moved forward by so many seconds: what is due by now is due at once."""
        self.alarms.sooner(seconds)
        self.sleepers.look()
        self.timers.reread()

    async def stop(self) -> None:
        """Hands over: no new lanes, turns finished and committed, lanes released, then everything closed."""
        await self.leases.leave()
        balance = self._tasks[3]
        await asyncio.wait([balance], timeout=self.settings.drain_s + 10)
        self.watchdog.stop()  # what is left cannot hurt the lanes, and may take as long as the servers let it
        for task in self._tasks:
            task.cancel()
        self.alarms.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.leases.end()
        try:
            await self.ownership.remove()
        except LogUnavailable as error:
            _log.warning("the pod's row stays until it expires: %s", error)
        await self._close()

    async def _close(self) -> None:
        """Closes what was opened."""
        self._background.cancel()
        if hasattr(self, "ownership"):
            self.watchdog.stop()
            self.reads.close()
            self.executions.loop.close()
            await self.asking.close()
            self.committer.close()
            for closing in self._closing:
                await closing.close()
        if hasattr(self, "front"):
            await self.front.close()
        if hasattr(self, "connection"):
            if self.connection.is_connected:
                try:
                    await self.connection.flush(FLUSH_S)
                except Exception as error:
                    _log.warning("the last answers may not have been sent, and are asked for again: %r", error)
            await self.connection.close()

    async def _guard(self, job: Any) -> None:
        try:
            await job
        except asyncio.CancelledError:
            raise
        except BaseException:
            # A part of the engine that is broken must not leave the rest running as if nothing were: the lanes go to
            # another pod, and whoever runs the pods starts this one anew.
            _log.critical("a part of pod %s failed; the pod ends", self.id, exc_info=True)
            self.failed.set()
            raise

    def _on_task_failed(self, what: str, error: BaseException) -> None:
        if not self.connection.is_closed:
            _log.critical("%s failed; pod %s ends", what, self.id, exc_info=error)
            self.failed.set()

    # -- lanes ----------------------------------------------------------------------------------------------------

    def _served(self) -> Mapping[str, Kind]:
        """The kinds as this pod knows them, while what it knows is what is current."""
        return {} if self.leases.standby else self.kinds

    def _on_taken(self, taken: Sequence[Taken]) -> None:
        for one in taken:
            careful = self.settings.max_batch if one.unclean else 0
            lane = Lane(one, f"{self.settings.group}_{one.partition}", careful, self.mailboxes)
            lane.excused = self.executions.excused(lane)
            self.lanes[lane.lane] = lane
            self._by_feed[lane.feed] = lane
            self._by_partition[lane.partition] = lane
            self.sharing.watch(lane, one.unclean)
            self.commands.start(lane.feed)
            self._background.start(self._subscribe(lane), f"subscribing to the reads of lane {lane.lane}")
            # Another version of this group's pods may serve kinds that this one does not: theirs wait for such a pod.
            now = self.clock.now()
            for actor, waiting in one.held.items():
                if waiting.kind in self.kinds:
                    self.alarms.set((waiting.due_at or now) - now, Next(lane, actor, waiting.kind))
            for row in one.running:
                if row.kind in self.kinds:
                    if row.expires_at is not None:
                        self.committer.put(Expire(lane, row.actor, Address(*row[3:6]), row.command_id))
                    if not row.holds:
                        self.alarms.set((row.due_at or now) - now, Rerun(lane, row))
            self.outbox.kick(lane)
        self.timers.reread()

    def lose(self, lane: Lane) -> None:
        """Stops everything of a lane at once; nothing of it is written any more."""
        lane.lose()
        self.commands.stop(lane.feed)
        self.sharing.stop(lane)
        self.executions.cancel(lane)
        self.alarms.forget(lane)
        self.activations.drop_lane(lane)
        self.timers.forget(lane)
        self._by_feed.pop(lane.feed, None)
        self._background.start(self._unsubscribe(lane), f"unsubscribing from the reads of lane {lane.lane}")
        if self.lanes.get(lane.lane) is lane:
            del self.lanes[lane.lane]
            del self._by_partition[lane.partition]

    async def _drain(self, lane: Lane) -> None:
        """Reads no more for a lane, and returns when nothing of it is in hand."""
        lane.draining = True
        self.commands.stop(lane.feed)
        self.sharing.stop(lane)
        await self.executions.hand_over(lane, self.settings.drain_s)
        deadline = self.clock.monotonic() + self.settings.drain_s
        while lane.alive and (lane.queued or lane.active or lane.sending) and self.clock.monotonic() < deadline:
            await asyncio.sleep(0.005)

    def _on_divided_back(self, lane: Lane) -> None:
        """The broker went back in time, and each feed of a lane may have gone another way: it begins anew as one."""
        _log.warning("lane %d is given up and taken again: the broker went back in time", lane.lane)
        self.lose(lane)
        self.leases.look_now()

    async def _on_log_lost(self, error: Exception) -> None:
        self._forget_all(str(error))
        await asyncio.sleep(0.1)
        self.leases.look_now()

    async def _on_log_replaced(self) -> None:
        self._forget_all("Postgres was started anew, perhaps with an older copy of the log")
        try:
            await self.assembly.prepare()
        except NotConnected as error:
            raise LogUnavailable(str(error)) from error
        log_id, known = await self.ownership.recall()
        if log_id != self.log_id:
            raise Misconfigured(
                f"{self.assembly.log_name} now holds log {log_id}, and pod {self.id} was "
                f"started on log {self.log_id}: put the right database back, or start the pods anew with a broker of "
                "their own for the new one"
            )
        if not known:  # the copy is older than this group, or than one of its kinds
            await self.ownership.register(self.settings.partitions)

    def _forget_all(self, why: str) -> None:
        self.meter.log_losses += 1
        _log.warning("everything in memory is given up and read again: %s", why)
        for lane in list(self.lanes.values()):
            self.lose(lane)
        self.activations.clear()
        self.committer.clear()
        self.snapshotter.clear()

    async def _on_reconnect(self) -> None:
        if not hasattr(self, "commands"):
            return  # it still starts, and reads nothing that could have been missed
        self.commands.restart_all("reconnected to NATS")
        for lane in self.lanes.values():
            self.outbox.kick(lane)

    # -- messages -------------------------------------------------------------------------------------------------

    def _on_command(self, feed: Feed, subject: str, seq: int, at: int, block: bytes, body: bytes) -> None:
        lane = self._by_feed.get(feed)
        if lane is None or not lane.alive:
            return
        lane.arrived(len(body))
        command = from_stream(lane, subject, seq, at, block, body)
        command.size = len(body)
        if lane.shares is not None:
            command.feed = feed
            lane.shares.arrived(feed)
        if names.OBJECT in command.headers and command.problem is None:
            self.bodies.fetch(command)
        self.committer.put(command)

    async def _subscribe(self, lane: Lane) -> None:
        """Receives the reads of a lane; where nobody does, the broker tells the caller at once."""
        for kind in self.kinds:
            subject = f"q.{lane.partition}.*.{kind}.*.*"
            lane.reads.append(await self.connection.subscribe_direct(subject, self.reads.on_message))
        if not lane.alive:
            await self._unsubscribe(lane)

    async def _unsubscribe(self, lane: Lane) -> None:
        try:
            while lane.reads and not self.connection.is_closed:
                await lane.reads.pop().unsubscribe()
        except Exception:
            if not self.connection.is_closed:  # it may be closed in between
                raise

    def _on_loaded(self, lane: Lane, actor: str, activation: Activation) -> Activation:
        present = self.activations.get(actor)
        # Two batches may each have asked for a load: the second must not take back what was committed since the first.
        if present is None or present.seq < activation.seq:
            self.activations.put(actor, activation)
            present = activation
        self.committer.put(Next(lane, actor, activation.address.kind))
        return present

    def _max_payload(self) -> int:
        return self.connection.max_payload

    def _post(self, subject: str, body: bytes) -> None:
        try:
            self.connection.post(subject, body)
        except NotConnected:
            pass  # whoever asked will ask again
        except Exception as error:
            _log.warning("an answer to %s was not sent: %r", subject, error)


def _capability(kind: Kind, settings: PodSettings) -> str:
    return msgspec.json.encode(kind.capability(settings.group, settings.code_version)).decode()

