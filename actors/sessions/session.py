"""A conversation: what was said, who is at work on an answer, and what waits behind that.

    await client.ask(session, "s1", "say", {"text": "I was charged twice", "agent": "billing"})

A message begins a run of an agent under the message's own id: who says it twice under one id has said it once. The
engine tells the session what became of that run, whatever it was. Somebody who speaks while a run goes on is heard
after it (`queue`), instead of it (`interrupt`), or not at all (`reject`).

What a run adds are its messages, once, when it has ended. What it said is in the log of its own steps before.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.models.wire import Message
from actors.sessions.transcript import Line, Transcript
from runtime import Rejected, Turn, entity
from runtime.sent import Caller
from schemas.address import Address, BadAddress, check_name
from schemas.control import Ended as Told
from schemas.conversation import KIND, ROUTER, WhenBusy, run_key, wrong_with
from schemas.wire import Failure

INGESTION = "memory-ingestion"
"""The kind of the workflow that learns from a session (actors.memory)."""

MAX_WAITING = 100
"""Messages that wait behind a run; who says more is refused."""


class Work(Struct, frozen=True, omit_defaults=True):
    """A run that answers a message. `number` is the message's, `id` the run's and its command's."""

    id: str
    agent: str
    number: int


class Waiting(Struct, frozen=True, omit_defaults=True):
    """A message that waits behind a run. It is said when its own run begins: that is told of all before it."""

    id: str
    agent: str
    text: str
    by: str | None = None
    roles: tuple[str, ...] = ()


class Session(Struct, frozen=True, omit_defaults=True):
    """The state of a conversation. `running` is at work; `waiting` are behind it, in order.

    Attributes:
        state: values of the session. `temp`: those that last as long as the run that is at work.
        source: the session that it was forked from.
    """

    transcript: Transcript = Transcript()
    running: Work | None = None
    waiting: tuple[Waiting, ...] = ()
    state: dict[str, msgspec.Raw] = {}
    temp: dict[str, msgspec.Raw] = {}
    source: str = ""


class Status(Struct, frozen=True, omit_defaults=True):
    """Who is at work, and what waits. `messages` are those that are remembered, `said` all that ever were.

    `at` is when the last message was said (Unix seconds); `source` the session that it was forked from. Messages up to
    number `forgotten` are not told any more.
    """

    messages: int
    said: int
    running: Work | None
    waiting: tuple[Waiting, ...]
    at: float = 0.0
    source: str = ""
    forgotten: int = 0


class Began(Struct, frozen=True, omit_defaults=True):
    """A person has said something, and a run is at work on it."""

    work: Work
    text: str
    at: float
    by: str | None = None


class Queued(Struct, frozen=True):
    """A person has said something while a run was at work."""

    waiting: Waiting


class Over(Struct, frozen=True, omit_defaults=True):
    """The run that was at work has ended: with what it has said, or with an error."""

    id: str
    at: float
    messages: tuple[Message, ...] = ()
    error: Failure | None = None


class Withdrawn(Struct, frozen=True):
    """A run that waited will not begin."""

    id: str


class StateSet(Struct, frozen=True, omit_defaults=True):
    """A value of the session's state; `null` takes it away."""

    name: str
    value: msgspec.Raw
    temp: bool = False


class Pruned(Struct, frozen=True, omit_defaults=True):
    """The messages up to a number are forgotten, but for some, and this is what is remembered of them."""

    forgotten: int
    kept: tuple[int, ...]
    summary: str
    how: str


class Marked(Struct, frozen=True):
    """A message is important, or is not any more."""

    number: int
    important: bool


class Adopted(Struct, frozen=True, omit_defaults=True):
    """The session goes on where another one was. Messages older than these are in that one's log."""

    source: str
    upto: int
    summary: str
    lines: tuple[Line, ...]
    forgotten: int = 0


Event = Began | Queued | Over | Withdrawn | StateSet | Pruned | Marked | Adopted


def apply(state: Session, event: Event) -> Session:  # noqa: PLR0911  # one for each event
    """The fold."""
    match event:
        case Began(work, text, at, by):
            transcript = state.transcript.add(Line(work.number, Message("user", text), at, work.id, by))
            waiting = tuple(one for one in state.waiting if one.id != work.id)
            return replace(state, transcript=transcript, running=work, waiting=waiting)
        case Queued(waiting_one):
            return replace(state, waiting=(*state.waiting, waiting_one))
        case Over(id, at, messages):
            transcript = state.transcript
            for message in messages:
                transcript = transcript.add(Line(transcript.said + 1, message, at, id))
            return replace(state, transcript=transcript, running=None, temp={})
        case Withdrawn(id):
            return replace(state, waiting=tuple(one for one in state.waiting if one.id != id))
        case StateSet(name, value, temp):
            known = state.temp if temp else state.state
            rest = {one: kept for one, kept in known.items() if one != name}
            values = rest if bytes(value) == b"null" else rest | {name: value}
            return replace(state, temp=values) if temp else replace(state, state=values)
        case Adopted(source):
            return replace(state, transcript=_remembered(state.transcript, event), source=source)
        case Pruned() | Marked():
            return replace(state, transcript=_remembered(state.transcript, event))


def _remembered(transcript: Transcript, event: Pruned | Marked | Adopted) -> Transcript:
    match event:
        case Pruned(forgotten, kept, summary):
            return transcript.forget(forgotten, kept, summary)
        case Marked(number, important):
            return transcript.mark(number, important)
        case Adopted(_, upto, summary, lines, forgotten):
            transcript = Transcript(summary=summary, forgotten=forgotten)
            for line in lines:
                transcript = transcript.add(line)
            return replace(transcript, said=upto)


session = entity(KIND, initial=Session(), apply=apply, version="2")


class Task(Struct, frozen=True, omit_defaults=True):
    """What a run is begun with: an agent reads the conversation itself, up to the message that it answers.

    With `plan` it says what it would do, and does nothing.
    """

    session: str
    upto: int
    text: str = ""
    plan: bool = False


class Answer(Struct, frozen=True, omit_defaults=True):
    """What an agent's run results in: its last words, and all that it adds to the conversation.

    `output` is the answer of an agent that answers in a shape; `learns` the key of the memory that is to learn of it.
    """

    text: str
    messages: tuple[Message, ...] = ()
    agent: str = ""
    output: Any = None
    learns: str = ""


class Ingest(Struct, frozen=True):
    """Messages of a session, from and to, that a memory is to learn of."""

    owner: str
    session: str
    first: int
    last: int


class Heard(Struct, frozen=True):
    """What comes of saying something: the run that answers it, and the message's number, 0 while it waits."""

    number: int
    run: str
    agent: str
    status: Literal["running", "queued"]


# -- what people say ----------------------------------------------------------------------------------------------


@session.command
def say(state: Session, ctx: Turn, text: str, agent: str = ROUTER, when_busy: WhenBusy = "queue") -> list[Event]:
    """A person says something to an agent, by its kind, or to whom the router picks. The result is a `Heard`."""
    try:
        check_name(agent, "kind")
    except BadAddress as error:
        raise Rejected(f"there can be no agent of that name: {error}") from error
    if (wrong := wrong_with(text)) is not None:
        raise Rejected(wrong)
    waiting, running = Waiting(ctx.command_id, agent, text, ctx.principal, ctx.roles), state.running
    if running is None:
        began = _begin(state, ctx, waiting)
        ctx.reply(Heard(began.work.number, waiting.id, agent, "running"))
        return [began]
    if when_busy == "reject":
        raise Rejected(f"session {ctx.key} is at work on message {running.number}", {"run": running.id})
    events: list[Event] = []
    if when_busy == "interrupt":
        events += [Withdrawn(one.id) for one in state.waiting]
        ctx.cancel_run(running.agent, run_key(ctx.key, running.id), running.id, "another message interrupts it")
    elif len(state.waiting) >= MAX_WAITING:
        raise Rejected(f"{MAX_WAITING} messages of session {ctx.key} wait already: wait for an answer")
    ctx.reply(Heard(0, waiting.id, agent, "queued"))
    return [*events, Queued(waiting)]


@session.command
def cancel(state: Session, ctx: Turn, run: str | None = None) -> Withdrawn | None:
    """Cancels the run that is at work, or that of a message that waits. The result is whether there was one."""
    running = state.running
    if running is not None and run in (None, running.id):
        ctx.cancel_run(running.agent, run_key(ctx.key, running.id), running.id, "the session's user cancelled it")
        ctx.reply(True)
        return None
    if run is not None and any(one.id == run for one in state.waiting):
        ctx.reply(True)
        return Withdrawn(run)
    ctx.reply(False)
    return None


@session.command
def over(state: Session, ctx: Turn, told: Told) -> list[Event] | None:
    """A run has ended: the engine says so, on behalf of the run itself and of nobody else."""
    running = state.running
    if running is None or running.id != told.id:
        return None
    if ctx.sender != Address(ctx.address.tenant, running.agent, run_key(ctx.key, running.id)):
        raise Rejected(f"only the run {told.id} says that it is over")
    messages: tuple[Message, ...] = ()
    error = told.error
    if error is None:
        try:
            answer = msgspec.convert(told.result, Answer)
            messages = answer.messages or (Message("assistant", answer.text, name=answer.agent),)
            if answer.learns:
                last = state.transcript.said + len(messages)
                ingest = Ingest(answer.learns, ctx.key, running.number, last)
                ctx.tell(INGESTION, run_key(ctx.key, told.id), "run", ingest)
        except msgspec.ValidationError as wrong:
            error = Failure("bad_result", f"{running.agent} gives what is no answer: {wrong}")
    ended = Over(told.id, ctx.now, messages, error)
    if not state.waiting:
        return [ended]
    return [ended, _begin(apply(state, ended), ctx, state.waiting[0])]


def _begin(state: Session, ctx: Turn, waiting: Waiting) -> Began:
    work = Work(waiting.id, waiting.agent, state.transcript.said + 1)
    task = Task(ctx.key, work.number, waiting.text)
    # It may have waited behind somebody else's run, whose rights are not its own.
    caller = Caller(waiting.by, waiting.roles)
    ctx.tell(work.agent, run_key(ctx.key, work.id), "run", task, id=work.id, then="over", caller=caller)
    return Began(work, waiting.text, ctx.now, waiting.by)
