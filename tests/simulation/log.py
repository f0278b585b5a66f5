"""The host's ports over a Store: questions that travel, get lost, or whose answers do."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from runtime.errors import CallFailed
from runtime.host.keeping import Needed, UnknownCommand
from runtime.host.ports import (
    Changes,
    Found,
    InboxEntry,
    LivePod,
    LogRefused,
    LogUnavailable,
    Owners,
    PendingRow,
    Refusal,
    Taken,
    TimerRow,
    Wanted,
)
from runtime.host.reading import SnapshotRow
from runtime.kind import StoredEvent
from tests.simulation.groups import register
from tests.simulation.scheduler import EPOCH, Node
from tests.simulation.store import GROUP, BrokenUniqueness, Store, Transaction

RECONNECT_S = 0.01
JOURNAL = ("troupe.step", "troupe.signal", "troupe.update", "troupe.cancel", "troupe.answer")


class Line:
    """Connections of one node to a store, as many as it wants."""

    def __init__(self, node: Node, store: Store) -> None:
        self.node = node
        self.store = store
        self.cut_until = 0.0
        """Until when nothing of this node's gets through."""
        self.held_until = 0.0
        """Until when nothing passes; then all arrives that was on its way."""

    async def ask(self, statement: Callable[[], Any], *, lanes: Sequence[int] = ()) -> Any:
        """What a statement gives; `lanes` are rows that it writes. Raises LogUnavailable."""
        if not lanes:
            return await Exchange(self, statement).settled

        def run(answer: Callable[[Any], None]) -> None:
            late = LogUnavailable("a lock was not given in time")
            self.store.when_free(lanes, lambda: answer(_result(statement)), lambda: answer(late))

        return await Exchange(self, None, run).settled

    def exchange(self, run: Callable[[Callable[[Any], None]], None]) -> asyncio.Future[Any]:
        """Has `run` called at the server, with what takes its answer back. An exception is raised here."""
        return Exchange(self, None, run).settled


def _result(statement: Callable[[], Any]) -> Any:
    try:
        return statement()
    except (LogUnavailable, CallFailed) as error:
        return error


class Exchange:
    """One question to the server, and its answer; the connection may break with either.

    It is a statement that gives the answer, or what is called with what takes it.
    """

    __slots__ = ("_fate", "_incarnation", "_line", "_run", "_statement", "_value", "settled")

    def __init__(
        self,
        line: Line,
        statement: Callable[[], Any] | None,
        run: Callable[[Callable[[Any], None]], None] | None = None,
    ) -> None:
        store = line.store
        self._line = line
        self._statement = statement
        self._run = run
        self._fate = store.scheduler.rng.random()
        self._incarnation = store.incarnation
        self._value: Any = None
        self.settled: asyncio.Future[Any] = store.scheduler.loop.create_future()
        store.scheduler.after(store.latency(), self._arrive)

    def _arrive(self) -> None:
        line, store = self._line, self._line.store
        now, fate = store.scheduler.now, self._fate
        if line.node.dead:
            return
        if now < line.held_until:
            store.scheduler.after(line.held_until - now, self._arrive)
        elif now < store.down_until or now < line.cut_until:
            self._break("nobody answers")
        elif store.incarnation != self._incarnation:
            self._break("the connection to Postgres broke: the server was started anew")
        elif fate < store.break_p and fate <= store.break_p / 2:
            self._break("the connection to Postgres broke: the question is lost")
        elif self._run is None:
            assert self._statement is not None
            self._answer(_result(self._statement))
        else:
            self._run(self._answer)

    def _break(self, why: str) -> None:
        self._value = LogUnavailable(why)
        self._line.store.scheduler.after(RECONNECT_S, self._settle)

    def _answer(self, value: Any) -> None:
        store = self._line.store
        if store.break_p / 2 < self._fate < store.break_p:
            value = LogUnavailable("the connection to Postgres broke: the answer is lost")
        self._value = value
        store.scheduler.after(store.latency(), self._settle)

    def _settle(self) -> None:
        scheduler, held_until = self._line.store.scheduler, self._line.held_until
        if scheduler.now < held_until:
            scheduler.after(held_until - scheduler.now, self._settle)
            return
        self._line.node.settle(self.settled, self._value)


class SimulatedCommitLog:
    """The CommitLog port."""

    def __init__(self, line: Line, pod: str, lease_ttl_s: float) -> None:
        self._line = line
        self._pod = pod
        self._ttl_s = lease_ttl_s
        self._transaction: Transaction | None = None
        self._connected = False
        self._incarnation: int | None = None

    async def begin(self, wanted: Wanted) -> Found:
        await self._ready()
        store, opened = self._line.store, []

        def run(answer: Callable[[Any], None]) -> None:
            if store.incarnation != self._incarnation:
                answer(LogUnavailable("the connection to Postgres broke: the server was started anew"))
                return

            def begun(transaction: Transaction | None, found: Any) -> None:
                if transaction is not None:
                    opened.append(transaction)
                    if self._line.node.dead:
                        store.end(transaction, "its pod died")
                answer(found)

            store.begin(wanted, self._pod, self._ttl_s, begun)

        try:
            found: Found = await self._line.exchange(run)
        except BaseException as error:
            self._broken(opened, error)
            raise
        self._transaction = opened[0]
        return found

    async def commit(self, changes: Changes) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            raise LogUnavailable("the connection to Postgres broke between reading and writing")
        store = self._line.store

        def run(answer: Callable[[Any], None]) -> None:
            try:
                store.commit(transaction, changes)
            except BaseException as error:
                answer(error)
            else:
                answer(None)

        try:
            await self._line.exchange(run)
        except BaseException as error:
            self._broken([transaction], error)
            raise

    async def commit_at_once(self, wanted: Wanted, changes: Changes) -> bool:
        await self._ready()
        store = self._line.store

        def run(answer: Callable[[Any], None]) -> None:
            if store.incarnation != self._incarnation:
                answer(LogUnavailable("the connection to Postgres broke: the server was started anew"))
                return

            def begun(transaction: Transaction | None, found: Any) -> None:
                if transaction is None:
                    answer(found)
                elif len(found.lanes) < len(wanted.fences) or found.inbox or found.pending or found.refused or any(
                    store.events.get(actor) for actor in wanted.new
                ):
                    store.end(transaction, "rolled back")
                    answer(False)
                else:
                    try:
                        store.check(changes)
                    except (BrokenUniqueness, LogRefused):
                        store.end(transaction, "rolled back")
                        answer(False)
                    else:
                        store.commit(transaction, changes)
                        answer(True)

            store.begin(wanted, self._pod, self._ttl_s, begun)

        try:
            done: bool = await self._line.exchange(run)
        except BaseException as error:
            self._broken([], error)
            raise
        return done

    async def rollback(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            await self._line.ask(lambda: self._line.store.end(transaction, "rolled back"))

    async def probe(self, lanes: Sequence[tuple[int, int, int]]) -> dict[int, int]:
        await self._ready()
        store = self._line.store
        counts: dict[int, int] = await self._line.ask(
            lambda: store.probe(self._pod, lanes), lanes=[lane for lane, _, _ in lanes]
        )
        return counts

    async def absolve(self, lanes: Sequence[tuple[int, int, int]]) -> None:
        await self._ready()
        await self._line.ask(lambda: self._line.store.absolve(lanes), lanes=[lane for lane, _, _ in lanes])

    async def close(self) -> None:
        self._broken([] if self._transaction is None else [self._transaction], None)

    async def _ready(self) -> None:
        if not self._connected:
            found = await self._line.ask(lambda: self._line.store.incarnation)
            known, self._incarnation = self._incarnation, found
            if known not in (None, found):
                self._incarnation = None
                raise LogUnavailable("Postgres was started anew, perhaps with an older copy of the log")
            self._connected = True

    def _broken(self, transactions: Sequence[Transaction], error: BaseException | None) -> None:
        """A connection that broke ends its transaction, once the server has noticed."""
        store = self._line.store
        for transaction in transactions:
            store.scheduler.after(RECONNECT_S, partial(store.end, transaction, "its connection broke"))
        if error is None or isinstance(error, LogUnavailable):
            self._connected = False
            self._transaction = None
            if error is not None:
                self._incarnation = None


class SimulatedOwnership:
    """The Ownership port."""

    def __init__(self, line: Line, pod: str, group: str = GROUP, kinds: Iterable[str] = ()) -> None:
        self._line = line
        self._store = line.store
        self._pod = pod
        self._group = group
        self._kinds = kinds

    async def register(self, partitions: int) -> tuple[int, str]:
        await self._line.ask(lambda: register(self._store, self._group, self._kinds))
        return self._store.partitions, "simulated"

    async def recall(self) -> tuple[str, bool]:
        return await self._line.ask(lambda: ("simulated", self._group in self._store.groups))  # type: ignore[no-any-return]  # as asked

    async def incarnation(self) -> str:
        return str(await self._line.ask(lambda: self._store.incarnation))

    async def heartbeat(self, ttl_s: float) -> float:
        return await self._line.ask(lambda: self._store.beat(self._pod, self._group, ttl_s))  # type: ignore[no-any-return]  # as asked

    async def confirm(self) -> dict[int, int]:
        def statement() -> dict[int, int]:
            return {number: row.epoch for number, row in self._store.lanes.items() if row.owner == self._pod}

        return await self._line.ask(statement)  # type: ignore[no-any-return]  # as asked

    async def live_pods(self) -> list[LivePod]:
        return await self._line.ask(lambda: self._store.live_pods(self._group))  # type: ignore[no-any-return]  # as asked

    async def owners(self) -> Owners:
        return await self._line.ask(lambda: self._store.owners(self._pod, self._group))  # type: ignore[no-any-return]  # as asked

    async def take(self, lanes: Sequence[int]) -> list[Taken]:
        return await self._line.ask(lambda: self._store.take(self._pod, self._group, lanes))  # type: ignore[no-any-return]  # as asked

    async def release(self, lanes: Sequence[tuple[int, int]]) -> None:
        if lanes:
            await self._line.ask(lambda: self._store.release(lanes), lanes=[lane for lane, _ in lanes])

    async def yield_moved(self) -> set[str]:
        found: set[str] = await self._line.ask(
            lambda: self._store.yield_moved(self._pod, self._group), lanes=list(self._store.lanes)
        )
        return found

    async def leave(self) -> None:
        def statement() -> None:
            if self._pod in self._store.pods:
                self._store.pods[self._pod].leaving = True

        await self._line.ask(statement)

    async def remove(self) -> None:
        await self._line.ask(lambda: self._store.pods.pop(self._pod, None))

    async def close(self) -> None:
        """Nothing is open."""


class SimulatedTimers:
    """The TimerSource port."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def next_timer(self, lanes: Sequence[int]) -> float | None:
        store = self._line.store
        return await self._line.ask(  # type: ignore[no-any-return]  # as asked
            lambda: min((row.due_at for row in store.timers_of(lanes)), default=None)
        )

    async def due_timers(self, lanes: Sequence[int], now: float, limit: int) -> list[TimerRow]:
        store = self._line.store

        def statement() -> list[TimerRow]:
            due = [row for row in store.timers_of(lanes) if row.due_at <= min(now, EPOCH + store.scheduler.now)]
            return sorted(due, key=lambda row: row.due_at)[:limit]

        return await self._line.ask(statement)  # type: ignore[no-any-return]  # as asked

    async def waiting(self, lanes: Sequence[int], until: float) -> tuple[list[PendingRow], float | None]:
        store = self._line.store

        def statement() -> tuple[list[PendingRow], float | None]:
            wanted = set(lanes)
            rows = [row for actor in store.pending.values() for row in actor.values() if row.lane in wanted]
            behind = min((row.due_at for row in rows if row.due_at is not None and row.due_at > until), default=None)
            near = [row for row in rows if row.due_at is not None and row.due_at <= until]
            return [row._replace(headers="{}", body=b"") for row in near], behind

        return await self._line.ask(statement)  # type: ignore[no-any-return]  # as asked

    async def close(self) -> None:
        """Nothing is open."""


class SimulatedSnapshots:
    """The Snapshots port."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._incarnation: int | None = None

    async def save(self, rows: Sequence[SnapshotRow]) -> None:
        kept, known = self._line.store, self._incarnation

        def statement() -> None:
            self._check(known)
            for row in rows:
                found = kept.snapshots.get(row.actor)
                if found is None or found[0] <= row.seq or found[1] != row.fold_version:
                    kept.snapshots[row.actor] = (row.seq, row.fold_version, row.state)

        await self._line.ask(statement)

    async def find(self, actor: str, fold_version: str) -> tuple[int, str] | None:
        known = self._incarnation

        def statement() -> Any:
            self._check(known)
            return self._line.store.snapshots.get(actor)

        found = await self._line.ask(statement)
        return (found[0], found[2]) if found is not None and found[1] == fold_version else None

    def forget(self) -> None:
        self._incarnation = None

    def _check(self, known: int | None) -> None:
        found = self._line.store.incarnation
        if known not in (None, found):
            raise LogUnavailable("Postgres was started anew, perhaps with an older copy of the log")
        self._incarnation = found

    async def close(self) -> None:
        """Nothing is open."""


class SimulatedKeeping:
    """The Keeping port."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def needed(self) -> Needed:
        return await self._line.ask(self._needed)  # type: ignore[no-any-return]  # as asked

    def _needed(self) -> Needed:
        lanes = [row for row in self._line.store.lanes.values() if not row.standby]
        return Needed(min(row.checkpoint for row in lanes), [], min(row.checkpoint_at for row in lanes))

    async def unread_kinds(self) -> list[tuple[str, int]]:
        return await self._line.ask(list)  # type: ignore[no-any-return]  # as asked

    async def known_kinds(self) -> set[str]:
        return await self._line.ask(lambda: set(self._line.store.kinds))  # type: ignore[no-any-return]  # as asked

    async def several_tenants(self) -> bool:
        """There is one, and lanes are divided all the same."""
        return True

    async def park_unknown(self, command: UnknownCommand) -> None:
        self._line.store.anomalies.append(f"{command.kind} is served, and its command {command.command_id} was parked")

    async def trim_runs(self, age_s: float) -> bool:
        """Nobody lists runs here."""
        return False

    async def trim_inbox(self, age_s: float, oldest_message: datetime.datetime | None) -> bool:
        oldest = None if oldest_message is None else oldest_message.timestamp() - EPOCH
        await self._line.ask(lambda: self._line.store.trim_inbox(age_s, oldest))
        return False

    async def vacuum(self) -> list[str]:
        """Nothing of what was deleted is left here."""
        return []

    async def erase(self) -> None:
        """Nobody is deleted here."""

    async def forget_pods(self) -> None:
        """Nobody died an hour ago."""

    async def close(self) -> None:
        """Nothing is open."""


class SimulatedReader:
    """The parts of the LogReader port that histories use; the rest is for services that nobody asks here."""

    def __init__(self, line: Line, capabilities: Mapping[str, str]) -> None:
        self._line = line
        self._capabilities = capabilities

    async def stored(self, actor: str, partition: int, after_seq: int) -> AsyncIterator[list[StoredEvent]]:
        events = self._line.store.events
        rows = await self._line.ask(lambda: events.get(actor, [])[after_seq:])
        if rows:
            yield [StoredEvent(row.seq, row.type, row.version, row.payload) for row in rows]

    async def last_seq(self, actor: str, partition: int) -> int:
        return await self._line.ask(lambda: len(self._line.store.events.get(actor, ())))  # type: ignore[no-any-return]  # as asked

    async def journal(
        self, actor: str, partition: int, command_id: str, after: int = 0
    ) -> list[tuple[int, str, str]]:
        events = self._line.store.events
        rows = await self._line.ask(lambda: list(events.get(actor, ())))
        return [
            (row.seq, row.type, row.payload)
            for row in rows
            if row.command_id == command_id and row.type in JOURNAL and row.seq > after
        ]

    async def inbox_entry(self, actor: str, command_id: str) -> InboxEntry | None:
        return await self._line.ask(lambda: self._line.store.inbox.get((actor, command_id)))  # type: ignore[no-any-return]  # as asked

    async def refusal(self, actor: str, command_id: str, digest: int | None) -> Refusal | None:
        known = await self._line.ask(lambda: list(self._line.store.refused.get((actor, command_id), ())))
        return next((refusal for refusal, own, _ in reversed(known) if digest in (None, own)), None)

    async def pending_entry(self, actor: str, command_id: str) -> tuple[str, int, str | None, int] | None:
        row = await self._line.ask(lambda: self._line.store.pending.get(actor, {}).get(command_id))
        return None if row is None else (row.state, row.attempts, row.error, row.digest)

    async def dead_letter(self, id: int, tenant: str) -> dict[str, Any] | None:
        letter = await self._line.ask(lambda: self._line.store.dead.get(id))
        return None if letter is None else letter.row._asdict() | {"status": letter.status}

    async def capabilities(self) -> list[Any]:
        return await self._line.ask(lambda: [msgspec.json.decode(one) for one in self._capabilities.values()])  # type: ignore[no-any-return]  # as asked

    async def close(self) -> None:
        """Nothing is open."""


