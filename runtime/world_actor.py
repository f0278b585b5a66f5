"""One actor of a World: it answers repeats, decodes, decides, tries again and parks, as a pod's turns do."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any

from runtime.arguments import InvalidArguments, encode_json, json_decoder
from runtime.clock import ManualClock
from runtime.errors import BadResult, CallFailed, Cancelled, Rejected, StepFailed
from runtime.failure import ATTEMPT, CYCLE, failed_attempt, failure_of, is_cycle, text_of
from runtime.flow.paced import paced_steps
from runtime.flow.saga import ContinueAsNew
from runtime.flow.sending import SentInTasks
from runtime.flow.state import ENDED, STARTED, RunState
from runtime.heartbeats import BEAT
from runtime.journal import STEP, Entry, Steps
from runtime.kind import (
    BEGIN,
    DELETED,
    SYSTEM_EVENT_PREFIX,
    Decided,
    Decision,
    Execution,
    Inquiry,
    Kind,
    Method,
    NewEvent,
    Read,
    StoredEvent,
)
from runtime.mail import Mail, Message, Said
from runtime.reading import Reading
from runtime.sent import KINDS, Asker, Question
from runtime.showing import Screen
from runtime.turn import Turn
from runtime.world_flow import FlowAttempt, VirtualTime, run_to_end
from runtime.yields import Yields, divided
from schemas import chain
from schemas.address import Address, actor_id, encode_token
from schemas.chain import MAX_CALLS, Call
from schemas.digest import digest_of
from schemas.wire import Failure

QUERY = ""
"""The id of a query, which has none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A command on its way; one with the id QUERY is a query."""

    id: str
    address: Address
    method: str
    body: bytes = b""
    correlation_id: str | None = None
    causation_id: str | None = None
    principal: str | None = None
    calls: tuple[Call, ...] = ()
    """The calls that wait for its answer."""
    then: tuple[Address, str] | None = None
    """The actor and the method of it that are told what became of this."""
    roles: tuple[str, ...] = ()
    sender: Address | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The caller's that travel."""
    follows: bool = False
    """Whether it begins a run behind the one before it, whatever that was."""

    def handed_on(self, cause: Command) -> Command:
        """The same for the principal of the command that led to it, with its roles and travelling headers."""
        return dataclasses.replace(self, principal=cause.principal, roles=cause.roles, headers=cause.headers)

    @property
    def digest(self) -> int:
        """Tells a repeat from another command with the same id."""
        return digest_of(self.method, self.body)

    def __str__(self) -> str:
        called = f"{self.address}.{self.method}"
        return called if self.id == QUERY else f"{called} (command {self.id})"


@dataclasses.dataclass(frozen=True, slots=True)
class DeadLetter:
    """A command that was parked. `cause` is the exception of its last attempt."""

    command: Command
    code: str
    error: str
    attempts: int
    cause: BaseException


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a command: its result as JSON, or a failure and the exception behind it."""

    result: bytes = b"null"
    failure: Failure | None = None
    cause: BaseException | None = None

    @classmethod
    def of(cls, code: str, message: str, cause: BaseException | None = None, *, path: str | None = None) -> Outcome:
        """A failure."""
        return cls(failure=Failure(code, message, path), cause=cause)

    def value(self, type: Any) -> Any:
        """The result read as `type`; raises Rejected or CallFailed."""
        failure = self.failure
        if failure is None:
            return json_decoder(type).decode(self.result)
        if failure.code == "rejected":
            raise Rejected(failure.message, failure.details) from self.cause
        raise CallFailed(failure.code, failure.message, path=failure.path, details=failure.details) from self.cause


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """What a command came to: its answer, events to append, what the turn asked for, and whether it was parked."""

    outcome: Outcome
    events: list[NewEvent] = dataclasses.field(default_factory=list)
    turn: Turn | None = None
    dead: DeadLetter | None = None


class Actor:
    """An actor in memory: its state, the log it is the fold of, and the answers it has given."""

    def __init__(
        self,
        kind: Kind,
        clock: ManualClock,
        answer: Callable[[Command], Outcome],
        record: Callable[[Command, list[NewEvent]], None],
        *,
        always_replay: bool = False,
        stubs: Mapping[str, Callable[..., Any]] | None = None,
        reading: Callable[[Address, Kind, int], Reading],
        screen: Callable[[Command], Screen | None] = lambda _: None,
    ) -> None:
        """`answer` processes what a handler asks of another actor; `record` adds events to this one's log.

        `reading` gives what an async query of an actor reads, whose log ends with a sequence; `screen` where what a
        command's run shows goes.
        """
        self._reading = reading
        self._always_replay = always_replay
        self._stubs = stubs or {}
        self._screen = screen
        self.kind = kind
        self._answer = answer
        self._record = record
        self._steps: dict[str, list[tuple[int, Entry]]] = {}
        self._said: list[Said] = []
        self.state = kind.initial()
        self.log: list[StoredEvent] = []
        self.paused = False
        self._inbox: dict[str, tuple[int, Outcome]] = {}
        self._refused: dict[tuple[str, int], Outcome] = {}
        self._clock = clock
        self._erased = 0
        self._deleted: set[str] = set()
        self._mails: dict[str, Mail] = {}

    @property
    def seq(self) -> int:
        """The sequence number of its last event."""
        return self._erased + len(self.log)

    def waits(self, command: Command) -> bool:
        """Whether the command has to wait until a person resumes this actor."""
        method = self.kind.methods.get(command.method)
        exclusive = isinstance(method, Decision) or (isinstance(method, Execution) and method.exclusive)
        answered = command.id in self._inbox or (command.id, command.digest) in self._refused
        return self.paused and exclusive and not answered

    def process(self, command: Command) -> Done:
        """Takes a command to its end: a repeat is answered, a failing handler tried again by its policy, or parked."""
        if (answered := self._answered(command)) is not None:
            return Done(answered)
        method = self.kind.methods.get(command.method)
        if method is None:
            known = ", ".join(sorted(self.kind.methods)) or "none"
            text = f"kind {self.kind.name!r} has no method {command.method!r}; it has {known}"
            return self._refuse(command, Outcome.of("unknown_method", text))
        try:
            payload = method.arguments.decode(command.body)
        except InvalidArguments as error:
            text = f"{command.address}.{command.method}: {error}"
            return self._refuse(command, Outcome.of("invalid_arguments", text, error, path=error.path))
        if isinstance(method, Read):
            done = Done(self._read(method, payload, command))
        else:
            done = self._try(method, payload, command)
        if command.id != QUERY:
            self._inbox[command.id] = command.digest, done.outcome
        return done

    def _answered(self, command: Command) -> Outcome | None:
        """The answer to a command whose id is known already."""
        if (refusal := self._refused.get((command.id, command.digest))) is not None:
            return refusal
        if command.id in self._deleted:
            text = f"{command.address} was deleted after command {command.id!r} was done: its answer is gone with it"
            return Outcome.of("deleted", text)
        if command.id in self._inbox:
            digest, recorded = self._inbox[command.id]
            if digest == command.digest:
                return recorded
            text = f"id {command.id!r} was used on {command.address} before, with another method or other arguments: "
            return Outcome.of("id_reused", text + "use a new id")
        return None

    def say(self, what: str, message: Message) -> NewEvent:
        """Keeps a message for a run, and gives its event, which is to be appended; one that goes on hears it."""
        said = Said(self.seq + 1, what, message)
        self._said.append(said)
        if message.run in self._mails:
            self._mails[message.run].post(said)
        return NewEvent(SYSTEM_EVENT_PREFIX + what, 1, encode_json(message).decode())

    def goes_on(self, run: str) -> bool:
        """Whether the run of that id goes on."""
        return run in self._mails

    def delete(self, by: str | None, reason: str) -> NewEvent:
        """Forgets all that was, and gives the event, to be appended, which begins a new life."""
        self._erased, self.log = self.seq, []
        self._deleted |= self._inbox.keys()
        self._inbox, self._refused = {}, {}
        self._steps, self._said = {}, []
        self.state, self.paused = self.kind.initial(), False
        return system_event(DELETED, {"by": by, "reason": reason})

    async def _sleep(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def append(self, events: list[NewEvent]) -> list[StoredEvent]:
        """Adds events to the log and gives them with their places."""
        stored = [StoredEvent(self.seq + n, *event) for n, event in enumerate(events, 1)]
        self.log += stored
        return stored

    def _refuse(self, command: Command, outcome: Outcome) -> Done:
        """The end of a command that was not processed; its id stays free for another one."""
        if command.id != QUERY:
            self._refused[command.id, command.digest] = outcome
        return Done(outcome)

    def _read(self, method: Read, payload: Any, command: Command) -> Outcome:
        turn = self._turn(command, 1)
        try:
            if isinstance(method, Inquiry):
                turn.reads_through(self._reading(command.address, self.kind, self.seq))
                return Outcome(run_to_end(partial(method.inquire, self.state, payload, turn)))
            return Outcome(method.read(self.state, payload, turn))
        except Exception as error:
            return Outcome(failure=failure_of(error, command), cause=error)

    def _try(self, method: Method, payload: Any, command: Command) -> Done:
        call = Call.of(command.address, command.method, holds=True)
        if method.exclusive and (reason := chain.refusal(command.calls, call)) is not None:
            return Done(Outcome.of(CYCLE, reason))
        if isinstance(method, Execution):
            admission = BEGIN if command.follows else self.kind.admission(self.state, payload, command.id)
            if admission.what in ("answer", "refuse"):
                return Done(Outcome(admission.result, admission.failure))
            started = self.kind.started(self.state, payload, self._turn(command, 1))
            if started is not None:
                self._note(command, NewEvent(SYSTEM_EVENT_PREFIX + STARTED, 1, started.decode()))
        try:
            done = self._attempts(method, payload, command)
        finally:
            self._mails.pop(command.id, None)
        if isinstance(method, Execution) and done.dead is None:
            ended = self.kind.ended(command.id, done.outcome.result, done.outcome.failure)
            if ended is not None:
                self._note(command, NewEvent(SYSTEM_EVENT_PREFIX + ENDED, 1, ended.decode()))
        return done

    def _attempts(self, method: Method, payload: Any, command: Command) -> Done:
        policy = self.kind.behaviour.retry
        expires_at = inf if policy.max_elapsed_s is None else self._clock.now() + policy.max_elapsed_s
        for attempt in range(1, policy.max_attempts + 1):
            turn = self._turn(command, attempt)
            turn.expires_at = expires_at
            try:
                decided = self._decide(method, payload, turn, command)
            except (Rejected, StepFailed, Cancelled) as error:
                return Done(Outcome(failure=failure_of(error, command), cause=error))
            except Exception as error:
                hopeless = isinstance(error, BadResult) or policy.gives_up(error) or is_cycle(error)
                if attempt == policy.max_attempts or hopeless:
                    return self._park(command, attempt, error)
                delay = policy.wait_s(error, attempt, self._clock.random())
                if self._clock.now() + delay > expires_at:
                    return self._park(command, attempt, error)
                if isinstance(method, Execution):
                    self._record(command, [system_event(ATTEMPT, failed_attempt(attempt, text_of(error)))])
                self._clock.advance(delay)
            else:
                if decided.events:  # a shared handler's state is the one that it began with
                    self.state = decided.state
                return Done(Outcome(decided.result), decided.events, turn)
        raise AssertionError("a policy has at least one attempt")

    def _decide(self, method: Method, payload: Any, turn: Turn, command: Command) -> Decided:
        if isinstance(method, Execution) and method.paced:
            return self._flow(method, payload, turn, command)
        if isinstance(method, Execution):
            execution, state = method, self.state
            turn.asks_through(self._asker(command, method))
            taken, yielded = divided([entry for _, entry in self._steps.setdefault(command.id, [])])
            keeper = self._keeper(command)
            steps = Steps(str(command.address), self._key(command), command.id, turn.attempt, keeper, taken)
            steps.stubs, steps.screen = self._stubs, self._screen(command)
            turn.yields_through(Yields(command.id, turn.attempt, keeper, yielded))
            mail = Mail(steps, self._clock.now, self._sleep, alone=True)
            self._post(mail, command)
            self._mails[command.id] = mail
            turn.steps_through(steps, mail)

            async def through() -> Decided:
                mail.open()
                return await steps.through(execution.run(state, payload, turn))

            return run_to_end(through)
        assert isinstance(method, Decision)
        return method.decide(self.state, payload, turn)

    def _flow(self, method: Execution, payload: Any, turn: Turn, command: Command) -> Decided:
        """An attempt at a workflow's run, and at what it continues as."""
        while True:
            state: RunState = self.state
            turn.asks_through(self._asker(command, method))
            recorded = [entry for seq, entry in self._steps.setdefault(command.id, []) if seq > state.since]
            time = VirtualTime(self._clock)
            keeper = self._keeper(command)
            steps = paced_steps(
                state, str(command.address), self._key(command), command.id, turn.attempt, keeper, recorded,
                self._clock, method.step_retry, time.pause,
            )  # fmt: skip
            steps.stubs, steps.screen = self._stubs, self._screen(command)
            mail = Mail(steps, self._clock.now, time.pause, alone=True)
            self._post(mail, command, state)
            self._mails[command.id] = mail
            turn.steps_through(steps, mail)
            attempt = FlowAttempt(partial(method.run, state, payload, turn), steps, mail, time)
            if self._always_replay:
                keeper.then = attempt.die
            try:
                return run_to_end(attempt.run)
            except ContinueAsNew:
                continue
            except asyncio.CancelledError:
                if not attempt.died:
                    raise

    def _key(self, command: Command) -> str:
        tenant, kind, key = command.address
        return f"{actor_id(tenant, kind, encode_token(key))}/{command.id}"

    def _keeper(self, command: Command) -> _Keeper:
        kept = self._steps.setdefault(command.id, [])

        def keep(entry: Entry) -> None:
            event = NewEvent(SYSTEM_EVENT_PREFIX + STEP, 1, encode_json(entry).decode())
            kept.append((self.seq + 1, entry))
            self._note(command, event)

        return _Keeper(keep)

    def _note(self, command: Command, event: NewEvent) -> None:
        """Adds an event of the engine's own to the log, at once."""
        self._record(command, [event])
        if event.type.removeprefix(SYSTEM_EVENT_PREFIX) in self.kind.watches:
            self.state = self.kind.fold(self.state, [StoredEvent(self.seq, *event)])

    def _post(self, mail: Mail, command: Command, state: RunState | None = None) -> None:
        for said in self._said:
            if said.message.run == command.id and (state is None or not state.generation or state.has(said.seq, False)):
                mail.post(said)

    def _asker(self, command: Command, method: Execution) -> Asker:
        calls = (*command.calls, Call.of(command.address, command.method, holds=method.exclusive))

        async def ask(question: Question) -> bytes:
            if question.method == KINDS:
                return self._answer(Command(KINDS, question.address, KINDS)).result
            if question.reads:
                read = self._answer(Command(QUERY, question.address, question.method, question.body))
                read.value(Any)
                return read.result
            if len(calls) > MAX_CALLS:
                raise CallFailed(CYCLE, f"{chain.shown(calls)}: more than {MAX_CALLS} calls wait for one another")
            correlation = command.correlation_id or command.id
            outcome = self._answer(
                Command(
                    question.id, question.address, question.method, question.body, correlation, command.id, None, calls,
                    sender=command.address,
                ).handed_on(command)
            )
            outcome.value(Any)
            return outcome.result

        return ask

    def _turn(self, command: Command, attempt: int) -> Turn:
        return Turn(
            command.address,
            command.id,
            self.seq,
            self._clock.now(),
            attempt=attempt,
            principal=command.principal,
            roles=command.roles,
            sender=command.sender,
            headers=command.headers,
            correlation_id=command.correlation_id,
            method=command.method,
        )

    def _park(self, command: Command, attempts: int, error: Exception) -> Done:
        failure = failure_of(error, command)
        code, text = failure.code, failure.message
        fact = {"command_id": command.id, "method": command.method, "code": code, "error": text, "attempts": attempts}
        events = [system_event("parked", fact)]
        if self.kind.behaviour.on_parked == "pause":
            self.paused = True
            reason = f"command {command.id} was parked: {text_of(error)}"
            events.append(system_event("paused", {"reason": reason, "by": None}))
        dead = DeadLetter(command, code, text, attempts, error)
        return Done(Outcome(failure=failure, cause=error), events, dead=dead)


class _Keeper(SentInTasks):
    """Keeps the steps of a run; see runtime.journal.Keeper."""

    def __init__(self, keep: Callable[[Entry], None]) -> None:
        self._keep = keep
        self.then: Callable[[], None] | None = None

    async def confirm(self) -> None:
        """Nobody else runs it."""

    async def keep(self, entry: Entry) -> None:
        """Adds it to the log."""
        self._keep(entry)
        if self.then is not None and not entry.step.startswith(BEAT):  # one that beats again and again would never end
            self.then()


def system_event(name: str, payload: dict[str, Any]) -> NewEvent:
    """An event that the engine writes itself; no fold sees it."""
    return NewEvent(SYSTEM_EVENT_PREFIX + name, 1, encode_json(payload).decode())
