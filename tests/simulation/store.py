"""The log's server: tables, rows locked by transactions, and what happens to these when a connection ends.

Only what the host asks of Postgres (runtime/postgres/*.sql), with the same outcomes: tests/contracts/test_log.py runs
the same tests over both. Statements run one after the other, each at one moment of virtual time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from runtime.host.ports import (
    PENDING_LIMIT,
    TAIL_LIMIT,
    Changes,
    DeadLetterRow,
    EventRow,
    Fence,
    Found,
    Held,
    InboxEntry,
    LivePod,
    LogRefused,
    LogTimedOut,
    LogUnavailable,
    OutboxRow,
    Owners,
    PauseRow,
    PendingRow,
    Refusal,
    Taken,
    TimerRow,
    Wanted,
)
from runtime.kind import StoredEvent
from tests.simulation.scheduler import EPOCH, Scheduler

GROUP = "default"
"""The group whose kinds they are at the beginning."""

LOCK_TIMEOUT_S = 2.0
REFUSED = '"cursed"'
"""A trigger of this database refuses every event whose payload holds this word."""


_TABLES = (
    "lanes", "groups", "kinds", "pods", "events", "times", "log", "inbox", "inbox_at", "refused", "pending", "outbox",
    "outbox_at", "timers", "dead", "paused", "snapshots",
)  # fmt: skip


class BrokenUniqueness(Exception):
    """Two rows with one key: what a pod believed of the log is not what it holds."""


@dataclasses.dataclass(slots=True)
class LaneRow:
    """A row of `partitions`."""

    lane: int
    partition: int
    group: str = GROUP
    owner: str | None = None
    epoch: int = 0
    checkpoint: int = 0
    checkpoint_at: int = 0
    position: int = 0
    probe_seq: int = 0
    probe_count: int = 0
    standby: bool = False


@dataclasses.dataclass(slots=True)
class PodRow:
    """A row of `pods`; times on the server's clock."""

    expires_at: float
    beat_at: float
    group: str = GROUP
    leaving: bool = False


@dataclasses.dataclass(slots=True)
class DeadLetter:
    """A row of `dead_letters`."""

    row: DeadLetterRow
    status: str = "parked"


@dataclasses.dataclass(frozen=True, slots=True)
class Past:
    """What the log held when an older copy was put in its place."""

    events: dict[str, list[EventRow]]
    inbox: dict[tuple[str, str], InboxEntry]


@dataclasses.dataclass(slots=True, eq=False)
class Transaction:
    """One that has fenced lanes and is not committed yet. `over` says how it ended, if its pod did not end it."""

    pod: str
    fences: list[Fence]
    over: str = ""


class Store:
    """One database, with the `partitions` lanes of one group whose `kinds` these are."""

    def __init__(self, scheduler: Scheduler, partitions: int, kinds: Iterable[str]) -> None:
        self.scheduler = scheduler
        self.incarnation = 1
        self.down_until = 0.0
        self.slow = 1.0
        self.slow_until = 0.0
        self.break_p = 0.0
        """The chance that a connection breaks with one question."""
        self.partitions = partitions
        self.kinds = dict.fromkeys(kinds, GROUP)
        self.groups = {GROUP: 0}
        self.lanes: dict[int, LaneRow] = {}
        self.pods: dict[str, PodRow] = {}
        self.events: dict[str, list[EventRow]] = {}
        self.times: dict[tuple[str, int], float] = {}
        self.log: dict[int, list[EventRow]] = {}
        self.inbox: dict[tuple[str, str], InboxEntry] = {}
        self.inbox_at: dict[tuple[str, str], float] = {}
        self.refused: dict[tuple[str, str], list[tuple[Refusal, int, int]]] = {}
        self.pending: dict[str, dict[str, PendingRow]] = {}
        self.outbox: dict[int, dict[int, OutboxRow]] = {}
        self.outbox_at: dict[tuple[int, int], float] = {}
        self.timers: dict[tuple[str, str], TimerRow] = {}
        self.dead: dict[int, DeadLetter] = {}
        self.paused: dict[str, PauseRow] = {}
        self.snapshots: dict[str, tuple[int, str, str]] = {}
        self.locks: dict[int, Transaction] = {}
        self.anomalies: list[str] = []
        self.may_go_back = False
        """Whether lanes may read again what they have read: the broker may lose what it has stored."""
        self.past: list[Past] = []
        """What was lost each time that a backup was put back."""
        self._waiting: list[Callable[[], bool]] = []
        for number in range(partitions):
            self.add_lane(LaneRow(number, number))

    @property
    def now(self) -> float:
        """The server's clock, in Unix seconds."""
        return EPOCH + self.scheduler.now

    def add_lane(self, row: LaneRow) -> None:
        """A lane in which nothing has happened."""
        self.lanes[row.lane] = row
        self.log[row.lane], self.outbox[row.lane] = [], {}

    def latency(self) -> float:
        """Seconds that one way takes: a fraction of a millisecond, now and then or while it stalls much more."""
        draw = self.scheduler.rng.random()
        usual_s = 0.0002 + 0.0008 * draw if draw < 0.97 else 0.02 * (draw - 0.96) * 25
        left = self.slow_until - self.scheduler.now
        return usual_s if left <= 0 else min(usual_s * self.slow, left + usual_s)

    # -- transactions -----------------------------------------------------------------------------------------------

    def fenced(self, fence: Fence, pod: str) -> bool:
        """Whether a lane is still the pod's, by its row as it is now."""
        row = self.lanes[fence.lane]
        return row.epoch == fence.epoch and row.owner == pod

    def begin(
        self, wanted: Wanted, pod: str, timeout_s: float, answer: Callable[[Transaction | None, Any], None]
    ) -> None:
        """Opens a transaction: locks the lanes that are the pod's, perhaps after a wait, and reads."""

        def attempt() -> bool:
            ours = [fence for fence in wanted.fences if self.fenced(fence, pod)]
            if any(fence.lane in self.locks for fence in ours):
                return False
            transaction = Transaction(pod, ours)
            for fence in ours:
                self.locks[fence.lane] = transaction
            self.scheduler.after(timeout_s, lambda: self.end(transaction, "timed out"))
            answer(transaction, self._found(wanted, frozenset([fence.lane for fence in ours])))
            return True

        self._when_unlocked(attempt, lambda: answer(None, LogUnavailable("a lock was not given in time")))

    def commit(self, transaction: Transaction, changes: Changes) -> None:
        """Writes and ends it. Raises LogRefused, LogTimedOut or LogUnavailable; then it is rolled back."""
        if transaction.over == "timed out":
            raise LogTimedOut("the transaction took too long")
        if transaction.over:
            raise LogUnavailable(f"the transaction is gone: {transaction.over}")
        try:
            self.check(changes)
        except BrokenUniqueness as error:
            self.anomalies.append(str(error))
            self.end(transaction, "failed")
            raise LogUnavailable(f"the connection to Postgres broke: {error}") from error
        except LogRefused:
            self.end(transaction, "refused")
            raise
        for fence in transaction.fences:
            row = self.lanes[fence.lane]
            if fence.checkpoint < row.checkpoint and not self.may_go_back:
                self.anomalies.append(f"the checkpoint of lane {row.lane} went back to {fence.checkpoint}")
            row.checkpoint, row.checkpoint_at, row.position = fence.checkpoint, fence.checkpoint_at, fence.position
        self._write(changes)
        self.end(transaction, "committed")

    def end(self, transaction: Transaction, how: str) -> None:
        """Ends a transaction whose pod does not, or does: nothing of it is written, and its locks are free."""
        if transaction.over:
            return
        transaction.over = how
        for fence in transaction.fences:
            del self.locks[fence.lane]
        self._retry()

    def when_free(self, lanes: Sequence[int], job: Callable[[], None], failed: Callable[[], None]) -> None:
        """Runs a statement that writes these lanes' rows once nobody has locked them."""

        def attempt() -> bool:
            if any(lane in self.locks for lane in lanes):
                return False
            job()
            return True

        self._when_unlocked(attempt, failed)

    def _when_unlocked(self, attempt: Callable[[], bool], failed: Callable[[], None]) -> None:
        if attempt():
            return
        self._waiting.append(attempt)

        def over() -> None:
            if attempt in self._waiting:
                self._waiting.remove(attempt)
                failed()

        self.scheduler.after(LOCK_TIMEOUT_S, over)

    def _retry(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._waiting = [attempt for attempt in waiting if not attempt()] + self._waiting

    def gone(self, pod: str) -> None:
        """The connections of a pod are closed: its process ended."""
        for transaction in list(dict.fromkeys(self.locks.values())):
            if transaction.pod == pod:
                self.end(transaction, "its pod died")

    def restart(self) -> None:
        """The server ends and comes back: open transactions are gone."""
        self.incarnation += 1
        for transaction in list(dict.fromkeys(self.locks.values())):
            self.end(transaction, "the server was started anew")

    def backup(self) -> dict[str, Any]:
        """A copy of every table."""
        return {name: {key: copy(value) for key, value in getattr(self, name).items()} for name in _TABLES}

    def restore(self, backup: dict[str, Any]) -> None:
        """The server ends, and comes back with a copy of its tables in their place."""
        self.restart()
        self.past.append(Past(self.events, self.inbox))
        for name, table in backup.items():
            setattr(self, name, table)

    # -- reading ----------------------------------------------------------------------------------------------------

    def _found(self, wanted: Wanted, lanes: frozenset[int]) -> Found:
        inbox = {place: entry for place in wanted.commands if (entry := self.inbox.get(place)) is not None}
        held = {}
        for actor, command in wanted.held:
            row = self.pending.get(actor, {}).get(command)
            if row is not None:
                held[actor, command] = row.digest
        runs = {
            (actor, command): self.pending[actor][command]
            for actor, command in wanted.runs
            if command in self.pending.get(actor, {})
        }
        following: dict[str, list[PendingRow]] = {}
        for _, actor in wanted.next_pending:
            if rows := self.oldest_pending(actor):
                following[actor] = rows
        timers = {place: self.timers[place].fire_id for place in wanted.timers if place in self.timers}
        if wanted.next_pending:
            actors = {actor for _, actor in wanted.next_pending}
            timers |= {place: row.fire_id for place, row in self.timers.items() if place[0] in actors}
        refused = {
            place: [refusal for refusal, _, _ in self.refused[place]]
            for place in wanted.refused
            if place in self.refused
        }
        snapshots: dict[str, tuple[int, str]] = {}
        tails: dict[str, list[StoredEvent]] = {}
        for actor, _, version in wanted.cold:
            after = 0
            saved = self.snapshots.get(actor)
            if saved is not None and saved[1] == version:
                after, snapshots[actor] = saved[0], (saved[0], saved[2])
            if tail := self.events.get(actor, [])[after : after + TAIL_LIMIT + 1]:
                tails[actor] = [StoredEvent(row.seq, row.type, row.version, row.payload) for row in tail]
        parked = frozenset([
            one for one in wanted.dead_letters if one in self.dead and self.dead[one].status == "parked"
        ])  # fmt: skip
        return Found(lanes, inbox, held, runs, following, timers, snapshots, tails, parked, refused)

    def timers_of(self, lanes: Sequence[int]) -> list[TimerRow]:
        """The timers of lanes whose command does not wait for its turn yet."""
        wanted, pending = set(lanes), self.pending
        return [
            row
            for row in self.timers.values()
            if row.lane in wanted and row.fire_id not in pending.get(row.actor, ())
        ]

    def oldest_pending(self, actor: str) -> list[PendingRow]:
        """An actor's pending commands that hold its key, oldest first."""
        return [row for row in self.pending.get(actor, {}).values() if row.holds][:PENDING_LIMIT]

    # -- writing ----------------------------------------------------------------------------------------------------

    def check(self, changes: Changes) -> None:
        """Raises LogRefused or BrokenUniqueness for what the tables do not take."""
        for event in changes.events:
            if REFUSED in event.payload:
                raise LogRefused("Postgres refused the batch: this is cursed")
        ends: dict[str, int] = {}
        positions: dict[int, int] = {}
        for event in changes.events:
            end = ends.get(event.actor)
            if end is None:
                end = len(self.events.get(event.actor, ()))
            if event.seq <= end:
                raise BrokenUniqueness(f"event {event.seq} of {event.actor} is there already")
            ends[event.actor] = event.seq
            log = self.log[event.lane]
            if event.position <= positions.get(event.lane, log[-1].position if log else 0):
                raise BrokenUniqueness(f"position {event.position} of lane {event.lane} is there already")
            positions[event.lane] = event.position
        forgotten = set(changes.inbox_forgotten)
        for place in [(row.actor, row.command_id) for row in changes.inbox]:
            if place in self.inbox and place not in forgotten:
                raise BrokenUniqueness(f"command {place[1]} of {place[0]} is answered already")
        done = set(changes.pending_done)
        for row in changes.pending:
            if row.command_id in self.pending.get(row.actor, {}) and (row.actor, row.command_id) not in done:
                raise BrokenUniqueness(f"command {row.command_id} of {row.actor} is pending already")
        ords: dict[int, int] = dict(changes.outbox_done)
        for message in changes.outbox:
            if message.ord in self.outbox[message.lane] and message.ord > ords.get(message.lane, 0):
                raise BrokenUniqueness(f"outbox {message.ord} of lane {message.lane} is there already")

    def _write(self, changes: Changes) -> None:
        now = self.scheduler.now
        for event in changes.events:
            self.events.setdefault(event.actor, []).append(event)
            self.times[event.actor, event.seq] = now
            self.log[event.lane].append(event)
        for place in changes.inbox_forgotten:
            self.inbox.pop(place, None)
        for answer in changes.inbox:
            place = (answer.actor, answer.command_id)
            self.inbox[place] = InboxEntry(answer.seq, answer.digest, answer.failed, answer.result)
            self.inbox_at[place] = now
        for actor, command in changes.pending_done:
            self.pending.get(actor, {}).pop(command, None)
        for row in changes.pending:
            self.pending.setdefault(row.actor, {})[row.command_id] = row
        for update in changes.pending_updates:
            rows = self.pending.get(update.actor, {})
            if update.command_id in rows:
                rows[update.command_id] = rows[update.command_id]._replace(
                    state=update.state, attempts=update.attempts, due_at=update.due_at, error=update.error,
                    holds=rows[update.command_id].holds if update.holds is None else update.holds,
                )  # fmt: skip
        for lane, upto in changes.outbox_done:
            self.outbox[lane] = {ord_: row for ord_, row in self.outbox[lane].items() if ord_ > upto}
        for message in changes.outbox:
            self.outbox[message.lane][message.ord] = message
            self.outbox_at[message.lane, message.ord] = now
        self._write_rarer(changes)

    def _write_rarer(self, changes: Changes) -> None:
        for row in changes.refused:
            known = self.refused.setdefault((row.actor, row.command_id), [])
            if all(refusal.fingerprint != row.fingerprint for refusal, _, _ in known):
                refusal = Refusal(row.fingerprint, row.code, row.seq, row.failure)
                known.append((refusal, row.digest, row.partition))
        for place in changes.timers_done:
            self.timers.pop(place, None)
        self.timers.update(changes.timers)
        for letter in changes.dead_letters:
            if not any(
                one.status == "parked" and (one.row.actor, one.row.command_id) == (letter.actor, letter.command_id)
                for one in self.dead.values()
            ):
                self.dead[len(self.dead) + 1] = DeadLetter(letter)
        self.paused.update(changes.paused)
        for actor in changes.resumed:
            self.paused.pop(actor, None)
        for number, status, _ in changes.dead_resolved:
            if self.dead[number].status == "parked":
                self.dead[number].status = status

    # -- membership and leases --------------------------------------------------------------------------------------

    def beat(self, pod: str, group: str, ttl_s: float) -> float:
        """Renews a pod's membership; gives the time (Unix seconds)."""
        now = self.scheduler.now
        row = self.pods.get(pod)
        if row is None:
            self.pods[pod] = PodRow(now + ttl_s, now, group)
        else:
            row.expires_at, row.beat_at = now + ttl_s, now
        return EPOCH + now

    def live_pods(self, group: str) -> list[LivePod]:
        """The group's pods whose leases are not over."""
        now = self.scheduler.now
        return [
            LivePod(name, row.leaving, now - row.beat_at)
            for name, row in sorted(self.pods.items())
            if row.expires_at > now and row.group == group
        ]

    def owners(self, pod: str, group: str) -> Owners:
        """Who owns which lane of a group, and whether the pod owns one of another."""
        own = {number: (row.owner, row.epoch) for number, row in self.lanes.items() if row.group == group}
        moved = any(row.owner == pod and row.group != group for row in self.lanes.values())
        return Owners(own, moved)

    def yield_moved(self, pod: str, group: str) -> set[str]:
        """Lets go of the pod's lanes that are another group's by now; gives the groups."""
        moved = [row for row in self.lanes.values() if row.owner == pod and row.group != group]
        for row in moved:
            row.owner = None
        return {row.group for row in moved}

    def take(self, pod: str, group: str, lanes: Sequence[int]) -> list[Taken]:
        """Takes those of a group's lanes that nobody alive owns and nobody has locked."""
        now = self.scheduler.now
        alive = {name for name, row in self.pods.items() if row.expires_at > now}
        taken = []
        for number in sorted(lanes):
            row = self.lanes[number]
            if row.group != group or number in self.locks or (row.owner != pod and row.owner in alive):
                continue
            unclean = row.owner is not None and row.owner != pod
            row.owner, row.epoch = pod, row.epoch + 1
            taken.append(self._taken(row, unclean))
        return taken

    def _taken(self, row: LaneRow, unclean: bool) -> Taken:
        held: dict[str, Held] = {}
        running: list[PendingRow] = []
        for actor, rows in self.pending.items():
            mine = [one for one in rows.values() if one.lane == row.lane]
            running += [one for one in mine if not one.holds]
            if holding := [one for one in mine if one.holds]:
                held[actor] = Held(holding[0].kind, len(holding), holding[0].due_at)
        paused = frozenset([actor for actor, pause in self.paused.items() if pause.lane == row.lane])
        log = self.log[row.lane]
        position = max(row.position, log[-1].position if log else 0)
        refusals = any(part == row.partition for known in self.refused.values() for _, _, part in known)
        return Taken(
            row.lane, row.partition, row.epoch, row.checkpoint, row.checkpoint_at, position, unclean, held, running,
            paused, list(self.outbox[row.lane].values()), row.probe_seq, row.probe_count, row.standby, refusals,
        )  # fmt: skip

    def release(self, lanes: Sequence[tuple[int, int]]) -> None:
        """Gives back (lane, epoch)."""
        for number, epoch in lanes:
            if self.lanes[number].epoch == epoch:
                self.lanes[number].owner = None

    def probe(self, pod: str, lanes: Sequence[tuple[int, int, int]]) -> dict[int, int]:
        """Counts attempts."""
        counts = {}
        for number, epoch, seq in lanes:
            row = self.lanes[number]
            if row.epoch == epoch and row.owner == pod:
                row.probe_count = row.probe_count + 1 if row.probe_seq == seq else 1
                row.probe_seq = seq
                counts[number] = row.probe_count
        return counts

    def absolve(self, lanes: Sequence[tuple[int, int, int]]) -> None:
        """Takes back what `probe` counted."""
        for number, _, seq in lanes:
            row = self.lanes[number]
            if row.probe_seq == seq and row.probe_count > 0:
                row.probe_count -= 1

    # -- keeping ----------------------------------------------------------------------------------------------------

    def trim_inbox(self, age_s: float, oldest_message: float | None) -> None:
        """Deletes answers that no repeat can ask for any more; `oldest_message` on the server's clock."""
        now = self.scheduler.now
        bounds = [now - age_s]
        if oldest_message is not None:
            bounds.append(oldest_message)
        bounds += [self.outbox_at[lane, ord_] for lane, rows in self.outbox.items() for ord_ in rows]
        fires = {(actor, row.fire_id) for (actor, _), row in self.timers.items()}
        before = min(bounds)
        if any(row.state != "waiting" for rows in self.pending.values() for row in rows.values()):
            return  # an execution may ask again for anything that it asked before
        for place, at in list(self.inbox_at.items()):
            if at < before and place not in fires and place[1] not in self.pending.get(place[0], {}):
                self.inbox.pop(place, None)
                del self.inbox_at[place]

    def unread(self) -> Mapping[int, Mapping[int, OutboxRow]]:
        """What outboxes hold."""
        return {lane: rows for lane, rows in self.outbox.items() if rows}
