"""What the host needs of a log, as plain data and one Protocol. The adapter is runtime/postgres/.

A commit takes two round trips: `begin` fences the lanes and reads what the turns need, `commit` writes what they
decided. Between the two the host runs the handlers. One for which nothing must be read takes `commit_at_once`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from runtime.errors import TroupeError
from runtime.kind import StoredEvent

PendingState = Literal["waiting", "running", "backoff"]
RunState = Literal["completed", "rejected", "failed", "parked", "cancelled", "terminated", "timed_out"]


class LogUnavailable(TroupeError):
    """The connection to the log broke; whether a commit that was under way took effect is not known."""


class LogRefused(TroupeError):
    """The log refused a batch for what is in it; nothing of it was written."""


class LogTimedOut(LogRefused):
    """The log took too long over a batch, whose fault that may be or nobody's; nothing of it was written."""


class Fence(NamedTuple):
    """A lane in hand: what this pod believes of it, and the checkpoint it moves to."""

    lane: int
    epoch: int
    checkpoint: int
    checkpoint_at: int
    position: int


class Cold(NamedTuple):
    """An actor whose state must be loaded."""

    actor: str
    partition: int
    fold_version: str


@dataclasses.dataclass(slots=True)
class Wanted:
    """What a batch needs to know before its turns: everything is looked up in the same transaction as the fence."""

    fences: list[Fence]
    commands: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(actor, command id) that may have been answered before."""
    held: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(actor, command id) that may be pending already."""
    runs: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(actor, command id) of pending commands for whose executions there is something."""
    next_pending: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    """(lane, actor) whose oldest pending commands are to run."""
    timers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(actor, timer name) that are due."""
    refused: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(actor, command id) that may have been refused before."""
    cold: list[Cold] = dataclasses.field(default_factory=list)
    new: list[str] = dataclasses.field(default_factory=list)
    """Those of `cold` that most likely have no events."""
    dead_letters: list[int] = dataclasses.field(default_factory=list)
    """Dead letters that are to be replayed or dropped."""
    unfinished: list[str] = dataclasses.field(default_factory=list)
    """Actors all of whose pending commands are asked for."""


class InboxEntry(NamedTuple):
    """A recorded answer. `result` is JSON: the result, or the Failure when `failed`."""

    seq: int
    digest: int
    failed: bool
    result: str


class Refusal(NamedTuple):
    """A recorded refusal. `failure` is JSON; see Command.fingerprint."""

    fingerprint: int
    code: str
    seq: int
    failure: str


class PendingRow(NamedTuple):
    """A command taken from the broker that is not done. Times are Unix seconds.

    `tags` is None for what is no execution, and so no run. `expires_at` is when it has waited or run for too long.
    """

    lane: int
    actor: str
    command_id: str
    tenant: str
    kind: str
    key: str
    method: str
    digest: int
    state: PendingState
    holds: bool
    attempts: int
    due_at: float | None
    headers: str
    body: bytes
    error: str | None = None
    tags: tuple[str, ...] | None = None
    expires_at: float | None = None


class Found(NamedTuple):
    """What `begin` found. `lanes` are those still ours; nothing may be written for any other."""

    lanes: frozenset[int]
    inbox: dict[tuple[str, str], InboxEntry]
    pending: dict[tuple[str, str], int]
    """Digests of the commands that are pending already."""
    runs: dict[tuple[str, str], PendingRow]
    next_pending: dict[str, list[PendingRow]]
    timers: dict[tuple[str, str], str]
    """Fire ids of the timers that are still set, also of all actors whose pending commands are to run."""
    snapshots: dict[str, tuple[int, str]]
    tails: dict[str, list[StoredEvent]]
    """Events after the snapshot, at most TAIL_LIMIT + 1: one more than the limit says that there are more."""
    parked: frozenset[int]
    """Those of the dead letters that nobody has replayed or dropped."""
    refused: dict[tuple[str, str], list[Refusal]]
    """What was refused under these ids."""
    unfinished: Sequence[PendingRow] = ()
    """Pending commands of actors that are to be deleted, at most UNFINISHED_LIMIT of each."""


TAIL_LIMIT = 512
"""Events loaded inside a commit; an actor with a longer tail is loaded outside, while its commands wait."""

PENDING_LIMIT = 32
"""Pending commands of one actor that one batch goes on with."""


UNFINISHED_LIMIT = 1000
"""Pending commands that one deletion ends; an actor with more is told to be let finish them."""


class ActorRow(NamedTuple):
    actor: str
    tenant: str
    kind: str
    key: str
    lane: int
    partition: int


class EventRow(NamedTuple):
    actor: str
    seq: int
    lane: int
    position: int
    partition: int
    version: int
    epoch: int
    tenant: str
    type: str
    command_id: str
    session: str | None
    causation_id: str | None
    correlation_id: str | None
    principal: str | None
    payload: str


class InboxRow(NamedTuple):
    actor: str
    command_id: str
    seq: int
    lane: int
    digest: int
    failed: bool
    result: str


class RefusedRow(NamedTuple):
    actor: str
    command_id: str
    fingerprint: int
    digest: int
    partition: int
    seq: int
    code: str
    failure: str


class PendingUpdate(NamedTuple):
    actor: str
    command_id: str
    state: PendingState
    attempts: int
    due_at: float | None
    error: str | None
    holds: bool | None = None
    """Whether it holds its key from now on; None for as before."""


class RunRow(NamedTuple):
    """How an execution ended. All else is known by its pending row."""

    actor: str
    command_id: str
    status: RunState
    attempts: int
    seq: int
    code: str | None
    error: str | None


class OutboxRow(NamedTuple):
    lane: int
    ord: int
    message_id: str
    subject: str
    headers: str
    body: bytes


class TimerRow(NamedTuple):
    actor: str
    name: str
    lane: int
    due_at: float
    fire_id: str
    tenant: str
    kind: str
    key: str
    method: str
    headers: str
    body: bytes


class DeadLetterRow(NamedTuple):
    actor: str
    lane: int
    tenant: str
    kind: str
    key: str
    method: str
    command_id: str
    headers: str
    body: bytes
    code: str
    error: str
    attempts: int


class PauseRow(NamedTuple):
    actor: str
    tenant: str
    lane: int
    reason: str
    by: str | None


class ErasedRow(NamedTuple):
    """An actor that is deleted: all that is of before the event `seq` goes. `state` is what it begins anew with."""

    actor: str
    seq: int
    tenant: str
    fold_version: str
    state: str


@dataclasses.dataclass(slots=True)
class Changes:
    """What a batch writes, all or nothing, in this order."""

    erased: list[ErasedRow] = dataclasses.field(default_factory=list)
    """Before all else: what the batch writes of such an actor is of its new life."""
    actors: list[ActorRow] = dataclasses.field(default_factory=list)
    events: list[EventRow] = dataclasses.field(default_factory=list)
    inbox_forgotten: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """(actor, command id) of answers that a replay takes back."""
    inbox: list[InboxRow] = dataclasses.field(default_factory=list)
    refused: list[RefusedRow] = dataclasses.field(default_factory=list)
    pending: list[PendingRow] = dataclasses.field(default_factory=list)
    pending_updates: list[PendingUpdate] = dataclasses.field(default_factory=list)
    runs: list[RunRow] = dataclasses.field(default_factory=list)
    """Of pending rows that this batch deletes."""
    pending_done: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    outbox: list[OutboxRow] = dataclasses.field(default_factory=list)
    outbox_done: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    timers_done: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    timers: dict[tuple[str, str], TimerRow] = dataclasses.field(default_factory=dict)
    dead_letters: list[DeadLetterRow] = dataclasses.field(default_factory=list)
    paused: dict[str, PauseRow] = dataclasses.field(default_factory=dict)
    resumed: list[str] = dataclasses.field(default_factory=list)
    dead_resolved: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)
    """(dead letter id, 'replayed' or 'dropped', by)."""
    runs_settled: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    """(actor, command id, 'replayed' or 'dropped') of those whose commands were parked."""


class CommitLog(Protocol):
    """The commit path of a log. One transaction at a time; a LogUnavailable leaves the object usable."""

    async def commit_at_once(self, wanted: Wanted, changes: Changes) -> bool:
        """Fences, writes and commits in one round trip.

        False when nothing was written: a lane is another pod's, a command of `wanted.commands`, `held` or `refused` is
        known, an actor of `new` has events, a command that gets an answer has one, or the log refused something:
        `begin` and `commit` say what it is. Of `wanted` nothing else is looked up. Raises LogUnavailable (outcome
        unknown) or LogTimedOut (nothing written).
        """

    async def begin(self, wanted: Wanted) -> Found:
        """Fences and reads. Raises LogUnavailable or LogRefused; then no transaction is open."""

    async def commit(self, changes: Changes) -> None:
        """Writes and commits. Raises LogUnavailable (outcome unknown), LogRefused or LogTimedOut (nothing written)."""

    async def rollback(self) -> None:
        """Gives up the open transaction, if there is one."""

    async def probe(self, lanes: Sequence[tuple[int, int, int]]) -> dict[int, int]:
        """Counts an attempt of (lane, epoch, stream sequence) before it is made; gives lane → attempts so far."""

    async def absolve(self, lanes: Sequence[tuple[int, int, int]]) -> None:
        """Takes back what `probe` counted, whoever owns the lanes now: the attempts did not end this process."""

    async def close(self) -> None:
        """Closes the connection."""


class Held(NamedTuple):
    """The commands that hold an actor's key: its kind, how many they are, when the oldest goes on; None for at once."""

    kind: str
    commands: int
    due_at: float | None


class Taken(NamedTuple):
    """A lane taken over, and all that the log holds for it."""

    lane: int
    partition: int
    epoch: int
    checkpoint: int
    checkpoint_at: int
    position: int
    unclean: bool
    """Whether the last owner died without releasing it."""
    held: dict[str, Held]
    """Actors with commands that hold their key."""
    running: list[PendingRow]
    """Commands that run without holding their key."""
    paused: frozenset[str]
    outbox: list[OutboxRow]
    probe_seq: int
    """The message that was tried with care when the process died, and in how many such tries it was (`probe_count`)."""
    probe_count: int
    standby: bool
    """Whether nothing is to be done with it: its group waits for its promotion (docs/adr/0007)."""
    refusals: bool
    """Whether commands of its partition were refused, so that it must be asked which."""


class Owners(NamedTuple):
    """Who owns a group's lanes.

    `lanes` is lane → (owner, epoch). `moved` says that this pod is still the owner of lanes that a promotion has given
    to another group: it is to let go of them, and then say so with `yield_moved`.
    """

    lanes: dict[int, tuple[str | None, int]]
    moved: bool


class LivePod(NamedTuple):
    """A pod whose lease is not over. `silent_s` is how long ago its last heartbeat was."""

    id: str
    leaving: bool
    silent_s: float


class Ownership(Protocol):
    """Registration, membership and leases, on connections of their own. Everything raises LogUnavailable."""

    async def register(self, partitions: int) -> tuple[int, str]:
        """Registers the pod's group, its lanes and its kinds; gives (partitions, log id). Raises Misconfigured."""

    async def recall(self) -> tuple[str, bool]:
        """(log id, whether the log knows this pod's group and kinds)."""

    async def incarnation(self) -> str:
        """Changes when the log may be another one than before: its server was started anew, or it was replaced."""

    async def heartbeat(self, ttl_s: float) -> float:
        """Renews this pod's membership for `ttl_s` seconds on the log's clock, and gives its time (Unix seconds)."""

    async def confirm(self) -> dict[int, int]:
        """The lanes that this pod owns, with their epochs; whoever is taking one of them just now is waited for."""

    async def live_pods(self) -> list[LivePod]:
        """The group's living pods."""

    async def owners(self) -> Owners:
        """Who owns the lanes of the whole group."""

    async def take(self, lanes: Sequence[int]) -> list[Taken]:
        """Takes those of `lanes` that nobody alive owns."""

    async def release(self, lanes: Sequence[tuple[int, int]]) -> None:
        """Gives back (lane, epoch)."""

    async def yield_moved(self) -> set[str]:
        """Gives back the lanes that a promotion has moved to other groups; gives those groups."""

    async def leave(self) -> None:
        """Marks this pod as leaving: it gets no new lanes."""

    async def remove(self) -> None:
        """Ends this pod's membership."""

    async def close(self) -> None:
        """Closes the connections."""
