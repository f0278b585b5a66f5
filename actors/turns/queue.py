"""The queue of one agent's key: the turn in flight, those that wait, those that have ended, and those that failed.

Like a session with its runs: a turn begins by a message of the outbox, under its own id, and the engine tells the queue
what became of it, whatever that was.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.turns.turn import MAX_TIMEOUT_S, Ended, Queued, Snapshot, StopReason, Turn
from runtime import Entity, Rejected, entity
from runtime import Turn as Context
from runtime.sent import Caller
from schemas.address import Address
from schemas.control import Ended as Told

MAX_WAITING = 1000
KEPT = 100
"""Turns that have ended, of which the queue itself knows; all are in the log."""

OnFailure = Literal["continue", "hold"]


class Queue(Struct, frozen=True, omit_defaults=True):
    """The state. `held` after a failure, where the agent holds then; `failed` stay until they are taken or dropped."""

    current: Queued | None = None
    waiting: tuple[Queued, ...] = ()
    ended: tuple[Ended, ...] = ()
    failed: tuple[Ended, ...] = ()
    held: bool = False


class Put(Struct, frozen=True):
    """Turns are put on the queue: behind the others, or before them."""

    turns: tuple[Queued, ...]
    first: bool = False


class Began(Struct, frozen=True):
    """The first one that waited is taken."""

    at: float


class Over(Struct, frozen=True, omit_defaults=True):
    """The turn in flight has ended."""

    ended: Ended
    holds: bool = False


class Dropped(Struct, frozen=True):
    """A turn that waited, or had failed, is no longer there."""

    id: str


class GoesOn(Struct, frozen=True):
    """A queue that was held goes on."""


Event = Put | Began | Over | Dropped | GoesOn


def apply(state: Queue, event: Event) -> Queue:
    """The fold."""
    match event:
        case Put(turns, first):
            return replace(state, waiting=(*turns, *state.waiting) if first else (*state.waiting, *turns))
        case Began(at):
            return replace(state, current=replace(state.waiting[0], started_at=at), waiting=state.waiting[1:])
        case Over(ended, holds):
            failed = state.failed if ended.stop_reason == "completed" else (*state.failed, ended)[-KEPT:]
            known = (*state.ended, ended)[-KEPT:]
            return replace(state, current=None, ended=known, failed=failed, held=state.held or holds)
        case Dropped(id):
            waiting = tuple(one for one in state.waiting if one.id != id)
            return replace(state, waiting=waiting, failed=tuple(one for one in state.failed if one.id != id))
        case GoesOn():
            return replace(state, held=False)


def queue_of(name: str, runs: str, tools: frozenset[str], on_failure: OnFailure) -> Entity[Queue]:
    """The kind of an agent's queues. `runs` is the function that takes a turn."""
    queue = entity(name, initial=Queue(), apply=apply, version="1")
    own = _Decisions(name, runs, tools, on_failure)
    for command in (own.put, own.over, own.cancel, own.retry, own.drop, own.go_on, own.restore):
        queue.command(command)
    queue.query(own.status)
    queue.query(own.snapshot)
    return queue


class _Decisions:
    """What an agent's queues decide."""

    def __init__(self, name: str, runs: str, tools: frozenset[str], on_failure: OnFailure) -> None:
        self._name = name
        self._runs = runs
        self._tools = tools
        self._on_failure = on_failure

    def _begin(self, state: Queue, ctx: Context) -> list[Event]:
        """Takes the next turn, if there is one and nothing is in its way."""
        if state.current is not None or state.held or not state.waiting:
            return []
        first = state.waiting[0]
        caller = Caller(first.by, first.roles)  # it may have waited behind somebody else's turn
        ctx.tell(self._runs, ctx.key, "run", first.turn, id=first.id, then="over", caller=caller)
        return [Began(ctx.now)]

    def _add(self, state: Queue, ctx: Context, turns: tuple[Turn, ...], *, first: bool = False) -> list[Event]:
        for turn in turns:
            if turn.tool not in self._tools:
                known = ", ".join(sorted(self._tools)) or "none"
                raise Rejected(f"agent {self._name!r} has no tool {turn.tool!r}: it has {known}")
            if not 0 < turn.timeout_s <= MAX_TIMEOUT_S:
                raise Rejected(f"a turn's timeout_s is more than 0 and at most {MAX_TIMEOUT_S:.0f}")
        if len(state.waiting) + len(turns) > MAX_WAITING:
            raise Rejected(f"{MAX_WAITING} turns may wait on {self._name}/{ctx.key}, and {len(state.waiting)} do")
        ids = [ctx.command_id, *[f"{ctx.command_id}.{at}" for at in range(1, len(turns))]]
        queued = [Queued(id, turn, by=ctx.principal, roles=ctx.roles) for id, turn in zip(ids, turns, strict=True)]
        put = Put(tuple(queued), first)
        ctx.reply(ids)
        return [put, *self._begin(apply(state, put), ctx)]

    def put(self, state: Queue, ctx: Context, turn: Turn) -> list[Event]:
        """Puts a turn behind the others. The result is a list of its id, which is this command's."""
        return self._add(state, ctx, (turn,))

    def over(self, state: Queue, ctx: Context, told: Told) -> list[Event] | None:
        """A turn has ended: the engine says so, on behalf of the run itself."""
        current = state.current
        if current is None or current.id != told.id:
            return None
        if ctx.sender != Address(ctx.address.tenant, self._runs, ctx.key):
            raise Rejected(f"only the run {told.id} says that it is over")
        ended = _ended(current, told, ctx.now)
        held = Over(ended, self._on_failure == "hold" and ended.stop_reason != "completed")
        return [held, *self._begin(apply(state, held), ctx)]

    def cancel(self, state: Queue, ctx: Context, id: str | None = None) -> Dropped | None:
        """Cancels the turn in flight, or one that waits. The result is whether there was one."""
        if state.current is not None and id in (None, state.current.id):
            ctx.cancel_run(self._runs, ctx.key, state.current.id, "its turn was cancelled")
            ctx.reply(True)
            return None
        found = any(one.id == id for one in state.waiting)
        ctx.reply(found)
        return Dropped(str(id)) if found else None

    def retry(self, state: Queue, ctx: Context, id: str) -> list[Event]:
        """Puts a turn that has failed before the others, under this command's id; a queue that is held goes on."""
        failed = _failed(state, id)
        dropped: list[Event] = [Dropped(id), *([GoesOn()] if state.held else [])]
        for event in dropped:
            state = apply(state, event)
        return [*dropped, *self._add(state, ctx, (failed.turn,), first=True)]

    def drop(self, state: Queue, ctx: Context, id: str) -> Dropped:
        """Forgets a turn that has failed; it stays in the log."""
        return Dropped(_failed(state, id).id)

    def go_on(self, state: Queue, ctx: Context) -> list[Event]:
        """Goes on behind a failure."""
        return [GoesOn(), *self._begin(replace(state, held=False), ctx)] if state.held else []

    def restore(self, state: Queue, ctx: Context, snapshot: Snapshot) -> list[Event]:
        """Takes over what a snapshot says is still to do: the turn in flight first. For an empty queue."""
        if state.current is not None or state.waiting:
            raise Rejected(f"{self._name}/{ctx.key} has turns to do: a snapshot is restored into an empty queue")
        first = () if snapshot.current_turn is None else (snapshot.current_turn,)
        todo = (*first, *snapshot.queue)
        return self._add(state, ctx, todo) if todo else []

    def status(self, state: Queue) -> Queue:
        """The queue as it is."""
        return state

    def snapshot(self, state: Queue) -> Snapshot:
        """What is still to do."""
        current = None if state.current is None else state.current.turn
        return Snapshot(self._name, current, tuple(one.turn for one in state.waiting))


def _failed(state: Queue, id: str) -> Ended:
    found = next((one for one in state.failed if one.id == id), None)
    if found is None:
        raise Rejected(f"no turn {id!r} has failed here")
    return found


def _ended(current: Queued, told: Told, now: float) -> Ended:
    reason: StopReason = "completed"
    error, values = "", 0
    if told.error is None:
        values = int(told.result)
    else:
        details: Any = told.error.details or {}
        reason = "cancelled" if told.error.code == "cancelled" else details.get("stop_reason", "error")
        error = told.error.message
    return Ended(current.id, current.turn, current.started_at, now, reason, values, error)
