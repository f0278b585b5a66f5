"""Tests of several actors together without servers: an in-memory world with a clock of its own.

    world = World(account, cart, charge)
    world.tell(account, "alice", Deposit(10))
    assert world.ask(account, "alice", Withdraw(3)) is None
    world.advance(60)  # fires the timers that are due by then
    world.replay()     # state equals the fold of the log, for every actor

Commands are decoded, deduplicated, decided, recorded, retried and parked as a pod does it, one at a time, in the order
in which they were sent; a call returns when everything that followed from it is done, and what a handler asks of
another actor is answered while it waits. It is a test harness and keeps
none of a pod's promises: nothing is stored, nothing runs side by side. An async handler runs to its end on an event
loop of its own, also when the test is itself async, so it cannot wait for something on the test's loop.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import deque
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from runtime.arguments import InvalidArguments
from runtime.clock import ManualClock
from runtime.entity import Entity
from runtime.errors import BadDefinition, CallFailed, Rejected, TroupeError
from runtime.flow.context import RUN
from runtime.flow.state import RunState
from runtime.keyvalue import KeyValueEntity, ValueDeleted, ValueSet
from runtime.kind import SYSTEM_EVENT_PREFIX, Execution, Kind, NewEvent, Read, with_companions
from runtime.mail import SIGNAL, Message
from runtime.reading import Reading
from runtime.scenario import body_of, named, unknown
from runtime.sent import KINDS, SetTimer
from runtime.showing import Shown
from runtime.stubs import Steps, stubs_of
from runtime.tokens import NO_SECRET
from runtime.turn import Turn
from runtime.world_actor import QUERY, Actor, Command, DeadLetter, Outcome, system_event
from runtime.world_index import WORLD_PARTITIONS, WorldIndex, WorldReader
from schemas.address import Address, BadAddress, actor_id, encode_token
from schemas.control import Ended
from schemas.headers import MAX_ID_LENGTH, is_id, travelling
from schemas.subjects import command as command_subject
from schemas.tokens import SIGNAL_PREFIX, BadToken, is_token, parse_token
from schemas.wire import Fact, Failure, LogEvent

MAX_TURNS = 10_000
"""Turns that one call may lead to; more are taken for actors that tell each other things for ever."""


class World:
    """Actors of several kinds, of all tenants, in memory.

    Every method that takes `kind` takes the kind itself or its name. Failures are raised as a client raises them:
    Rejected, or CallFailed with one of schemas.errors.CODES and the handler's own exception as its cause.

    Attributes:
        clock: the world's time; `advance` moves it and fires timers, retries move it by the policy's delays.
        log: every event of every actor, in the order of their commit.
        dead: the commands that were parked.
        waiting: commands to paused actors, and to kinds that this world does not have.
        progress: what runs have shown (`ctx.show`), a value each, with how many events were in `log` by then;
            `attempts` counts what their numbers are given for.
    """

    def __init__(
        self,
        *kinds: Kind,
        clock: ManualClock | None = None,
        seed: int = 0,
        always_replay: bool = False,
        steps: Steps | None = None,
    ) -> None:
        """`always_replay` has workflows die after each entry of their journals, and start anew from these.

        What code does otherwise in a replay is found by that. Steps side by side may be cut off, and run again.
        `steps` are stubs: what steps come to instead, by function or name; see runtime.stubs.
        """
        self._always_replay = always_replay
        self._stubs = stubs_of(steps)
        self.clock = clock or ManualClock(seed=seed)
        self.log: list[LogEvent] = []
        self.dead: list[DeadLetter] = []
        self.waiting: list[Command] = []
        self.progress: list[tuple[int, Fact]] = []
        self.attempts = 0
        served = with_companions(kinds)
        self._kinds = {kind.name: kind for kind in served}
        if len(self._kinds) != len(served):
            raise BadDefinition("two kinds of this world have one name: rename one of them")
        self._actors: dict[Address, Actor] = {}
        self._queue: deque[Command] = deque()
        self._timers: dict[tuple[Address, str], tuple[SetTimer, Command]] = {}
        self._started: dict[tuple[Address, str], str] = {}
        self._used: dict[str, tuple[bytes, str | None]] = {}
        self._index = WorldIndex()

    def ask(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        id: str | None = None,
        tenant: str = "default",
        principal: str | None = None,
        roles: tuple[str, ...] = (),
        sender: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        type: Any = Any,
    ) -> Any:
        """Sends a command, lets everything that follows from it happen, and returns its result, read as `type`.

        `command` is a command object, or a method's name with `args` beside it. Asking again with the same `id` gives
        the recorded answer. `principal` and `roles` are who asks, as the handler sees it; `sender` (kind, key) is the
        actor that does. `headers` are those that travel (schemas.headers).
        """
        sent = self._command(kind, key, command, args, id, tenant, principal, roles, sender, headers)
        self._queue.append(sent)
        outcome = self._run(sent)
        if outcome is None:
            raise CallFailed("timeout", f"{sent.address} is paused: command {sent.id!r} waits until it is resumed")
        return outcome.value(type)

    def tell(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        id: str | None = None,
        tenant: str = "default",
        principal: str | None = None,
        roles: tuple[str, ...] = (),
    ) -> str:
        """Sends a command, lets everything that follows happen, and returns its id. What became of it is not raised."""
        sent = self._command(kind, key, command, args, id, tenant, principal, roles)
        self._queue.append(sent)
        self._run()
        return sent.id

    def signal(
        self, kind: Kind | str, key: str, run: str, name: str, value: Any = None, *, tenant: str = "default"
    ) -> None:
        """Sends a signal to the run of the command with the id `run`, which is to be sent afterwards.

        A World's handler runs to its end at once: what it waits for must have been said before, or by one of its steps.
        """
        address, _ = self._address(kind, key, tenant)
        self._say(Command(self.clock.token(16), address, "signal"), run, name, value)

    def signal_with_start(
        self, kind: Kind | str, key: str, name: str, value: Any = None, args: Any = None, *,
        id: str | None = None, tenant: str = "default",
    ) -> str:  # fmt: skip
        """Sends a signal to the workflow's run, which begins with `args` if none goes on, and gives that run's id.

        As Client.signal_with_start: a run that has ended makes way. The same `id` again gives the same run, and says
        nothing. What the run came to is what `ask` gives under its id. Raises Rejected when `on_existing` is "reject",
        and CallFailed: `unknown_method` when the kind is no workflow, `invalid_arguments`.
        """
        address, known = self._address(kind, key, tenant)
        start = Command(id or self.clock.token(16), address, "$start")
        if (address, start.id) in self._started:
            return self._started[address, start.id]
        state, method = self._actor(address).state, known.methods.get(RUN)
        if not isinstance(state, RunState) or not isinstance(method, Execution):
            raise CallFailed("unknown_method", f"kind {known.name!r} is no workflow: send a command")
        if state.status == "running":
            self._say(start, state.run, name, value)
            self._started[address, start.id] = state.run
            return state.run
        if (failure := known.follows(state)) is not None:
            raise Rejected(failure.message)
        try:
            method.arguments.decode(body := body_of(args))
        except InvalidArguments as error:
            raise CallFailed("invalid_arguments", f"{address}.{RUN}: {error}", path=error.path) from error
        run = self._started[address, start.id] = _digest(f"{_actor_id(address)}/{start.id}/start")
        self._say(start, run, name, value)
        self._queue.append(Command(run, address, RUN, body, start.id, start.id, follows=True))
        self._run()
        return run

    def complete(self, token: str, value: Any = None, *, tenant: str = "default") -> None:
        """Completes the step that handed out `token` (`ctx.external`): to be called by that step, or what it calls.

        The same again does nothing. Raises Rejected when the token was used with something else, and CallFailed as
        Client.complete does.
        """
        self._use(token, value, None, tenant)

    def fail(self, token: str, reason: str, *, tenant: str = "default") -> None:
        """Fails it: the run gets a StepFailed. Raises as `complete` does."""
        self._use(token, None, reason, tenant)

    def delete(
        self, kind: Kind | str, key: str, *, by: str | None = None, reason: str = "", force: bool = False,
        tenant: str = "default",
    ) -> int:  # fmt: skip
        """Deletes an actor with its history, as Client.delete does, and gives how many events were taken away.

        Raises Rejected when commands wait for it, unless `force` ends these, and when it has no events.
        """
        address, _ = self._address(kind, key, tenant)
        actor = self._actor(address)
        waiting = [command for command in self.waiting if command.address == address]
        if not actor.seq and not waiting:
            raise Rejected(f"{address} has no events: there is nothing to delete")
        if waiting and not force:
            raise Rejected(f"{address} works: {len(waiting)} of its commands are not done; force ends them")
        self.waiting = [command for command in self.waiting if command.address != address]
        self.dead = [letter for letter in self.dead if letter.command.address != address]
        self.log = [event for event in self.log if Address(event.tenant, event.kind, event.key) != address]
        self._timers = {place: timer for place, timer in self._timers.items() if place[0] != address}
        events = len(actor.log)
        self._append(Command(self.clock.token(16), address, "delete"), [actor.delete(by, reason)])
        return events

    def query(
        self, kind: Kind | str, key: str, query: Any, args: Any = None, *, tenant: str = "default", type: Any = Any
    ) -> Any:
        """What a query answers, read as `type`. `query` is its handler, its name with `args`, or a question object."""
        address, known = self._address(kind, key, tenant)
        name, payload = named(known, query, args)
        if not isinstance(known.methods.get(name), Read):
            raise unknown(known, "query", name, Read)
        done = self._actor(address).process(Command(QUERY, address, name, body_of(payload)))
        return done.outcome.value(type)

    def state(self, kind: Kind | str, key: str, *, tenant: str = "default") -> Any:
        """An actor's state; of a key-value entity, its values by name."""
        address, known = self._address(kind, key, tenant)
        state = self._actor(address).state
        if isinstance(known, KeyValueEntity):
            return {name: msgspec.json.decode(value) for name, value in state.items()}
        return state

    def events(self, kind: Kind | str, key: str, *, tenant: str = "default") -> list[Any]:
        """An actor's events as objects, without those that the engine writes itself (they are in `log`)."""
        address, known = self._address(kind, key, tenant)
        stored = [one for one in self._actor(address).log if not one.type.startswith(SYSTEM_EVENT_PREFIX)]
        if isinstance(known, Entity):
            return [known.read(event) for event in stored]
        types: dict[str, Any] = {"ValueSet": ValueSet, "ValueDeleted": ValueDeleted}
        return [msgspec.json.decode(event.payload, type=types[event.type]) for event in stored]

    def advance(self, seconds: float) -> None:
        """Lets time pass, and fires the timers that become due, in order, each at its time."""
        until = self.clock.now() + seconds
        while due := self._next_timer(until):
            self.clock.advance(max(0.0, due.due_at - self.clock.now()))
            self._run()
        self.clock.advance(max(0.0, until - self.clock.now()))

    def resume(self, kind: Kind | str, key: str, *, tenant: str = "default") -> None:
        """Lets a paused actor go on with what waits for it."""
        address, _ = self._address(kind, key, tenant)
        self._actor(address).paused = False
        order = Command(self.clock.token(16), address, "resume")
        self._append(order, [system_event("resumed", {"by": None, "reason": ""})])
        self._queue.extend(command for command in self.waiting if command.address == address)
        self.waiting = [command for command in self.waiting if command.address != address]
        self._run()

    def serve(self, *kinds: Kind) -> None:
        """Adds kinds, as pods that start later do; what has been sent to them meanwhile is done."""
        for kind in with_companions(kinds):
            if self._kinds.setdefault(kind.name, kind) is not kind and kind in kinds:
                raise BadDefinition(f"this world has another kind of the name {kind.name!r}")
        waited = [one for one in self.waiting if one.address.kind in self._kinds]
        self.waiting = [one for one in self.waiting if one.address.kind not in self._kinds]
        self._queue.extend(waited)
        self._run()

    def replay(self) -> None:
        """Asserts, for every actor, that its state equals the fold of its log, also through a snapshot at every event.

        What it finds: an `apply` or a handler that changes the state it was given, or a state that JSON does not carry.
        """
        for address, actor in self._actors.items():
            folded = actor.kind.initial()
            for event in actor.log:
                folded = actor.kind.decode_state(actor.kind.encode_state(actor.kind.fold(folded, [event])))
            if folded != actor.state:
                raise AssertionError(f"{address} is {actor.state!r}, but its log folds to {folded!r}")

    # -- what is said ---------------------------------------------------------------------------------------------

    def _say(self, command: Command, run: str, name: str, value: Any, failed: Failure | None = None) -> None:
        message = Message(run, command.id, name, msgspec.Raw(body_of(value) or b"null"), failed)
        self._append(command, [self._actor(command.address).say(SIGNAL, message)])

    def _use(self, text: str, value: Any, reason: str | None, tenant: str) -> None:
        try:
            token = parse_token(text)
        except BadToken as error:
            raise CallFailed("bad_request", str(error)) from error
        if token.tenant != tenant:
            raise CallFailed("forbidden", f"the token is of another tenant than {tenant!r}")
        if not is_token(NO_SECRET, token) or token.address not in self._actors:
            raise CallFailed("not_found", f"no run of {token.address} handed out this token")
        said = body_of(value), reason
        if (before := self._used.get(text)) is not None:
            if before != said:
                raise Rejected(f"this token of {token.address} was used already, with something else")
            return
        if not self._actors[token.address].goes_on(token.run):
            raise CallFailed("not_running", f"run {token.run!r} of {token.address} is not running")
        self._used[text] = said
        failed = None if reason is None else Failure("handler_failed", reason)
        command = Command(token.command_id, token.address, "complete")
        self._say(command, token.run, SIGNAL_PREFIX + token.label, value, failed)

    # -- commands on their way ------------------------------------------------------------------------------------

    def _address(self, kind: Kind | str, key: str, tenant: str) -> tuple[Address, Kind]:
        name = kind if isinstance(kind, str) else kind.name
        address = Address(tenant, name, key)
        try:
            command_subject(address, "method")
        except BadAddress as error:
            raise CallFailed("bad_address", str(error)) from error
        if name not in self._kinds:
            raise CallFailed(
                "unknown_kind", f"this world has no kind {name!r}; it has {', '.join(sorted(self._kinds))}"
            )
        return address, self._kinds[name]

    def _command(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any,
        id: str | None,
        tenant: str,
        principal: str | None,
        roles: tuple[str, ...],
        sender: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Command:
        address, known = self._address(kind, key, tenant)
        if id is not None and not is_id(id):
            raise CallFailed(
                "bad_request", f"{id[:80]!r} cannot be an id: use 1 to {MAX_ID_LENGTH} printable ASCII characters"
            )
        name, payload = named(known, command, args)
        sent = Command(id or self.clock.token(16), address, name, body_of(payload), principal=principal, roles=roles)
        if sender is not None:
            sent = dataclasses.replace(sent, sender=Address(tenant, *sender))
        if headers:
            sent = dataclasses.replace(sent, headers=travelling(headers))
        return sent

    def _run(self, awaited: Command | None = None) -> Outcome | None:
        outcome = None
        turns = 0
        while self._queue or self._fire():
            command = self._queue.popleft()
            turns += 1
            if turns > MAX_TURNS:
                self._queue.clear()
                raise TroupeError(
                    f"{MAX_TURNS} turns followed from one call, the last on {command.address}: is it a loop?"
                )
            if command.address.kind not in self._kinds or self._actor(command.address).waits(command):
                self.waiting.append(command)
                continue
            answer = self._process(command)
            if command is awaited:
                outcome = answer
        return outcome

    def _process(self, command: Command) -> Outcome:
        done = self._actor(command.address).process(command)
        self._append(command, done.events)
        if done.turn is not None:
            self._carry(command, done.turn)
            if done.turn.counts is not None:
                done.turn.counts.commit()
        if done.dead is not None:
            self.dead.append(done.dead)
        if command.then is not None:
            self._tell_then(command, *command.then, done.outcome)
        return done.outcome

    def _tell_then(self, command: Command, address: Address, method: str, outcome: Outcome) -> None:
        _, kind, key = command.address
        body = msgspec.json.encode(
            Ended(command.id, kind, key, command.method, msgspec.Raw(outcome.result), outcome.failure)
        )
        id = _digest(f"{command.address}/{command.id}/then/{method}/{body!r}")
        told = Command(id, address, method, body, command.correlation_id, command.id, sender=command.address)
        if command.sender == address:
            told = told.handed_on(command)
        self._queue.append(told)

    def _answer(self, command: Command) -> Outcome:
        """What a handler that waits for it is answered."""
        if command.method == KINDS:
            there_are = [self._kinds[name].capability("world", "1") for name in sorted(self._kinds)]
            return Outcome(msgspec.json.encode(there_are))
        kind = command.address.kind
        if kind not in self._kinds:
            known = ", ".join(sorted(self._kinds))
            return Outcome.of("unknown_kind", f"this world has no kind {kind!r}; it has {known}")
        if self._actor(command.address).waits(command):
            self.waiting.append(command)
            text = f"{command.address} is paused: command {command.id!r} waits until it is resumed"
            return Outcome.of("timeout", text)
        return self._process(command)

    def _next_timer(self, until: float) -> SetTimer | None:
        timer = min((timer for timer, _ in self._timers.values()), key=lambda timer: timer.due_at, default=None)
        return timer if timer is not None and timer.due_at <= until else None

    def _fire(self) -> bool:
        due = self._next_timer(self.clock.now())
        if due is None:
            return False
        place, command = next((place, command) for place, (timer, command) in self._timers.items() if timer is due)
        del self._timers[place]
        self._queue.append(command)
        return True

    def _reading(self, address: Address, kind: Kind, seq: int) -> Reading:
        return Reading(address, kind, seq, WorldReader(self.log), self._index, WORLD_PARTITIONS)

    # -- what a turn leaves behind --------------------------------------------------------------------------------

    def _actor(self, address: Address) -> Actor:
        actor = self._actors.get(address)
        if actor is None:
            actor = self._actors[address] = Actor(
                self._kinds[address.kind], self.clock, self._answer, self._append,
                always_replay=self._always_replay, stubs=self._stubs, screen=lambda command: _Screen(self, command),
                reading=self._reading,
            )  # fmt: skip
        return actor

    def _append(self, command: Command, events: list[NewEvent]) -> None:
        at = datetime.datetime.fromtimestamp(self.clock.now(), datetime.UTC).isoformat(timespec="milliseconds")
        for event in self._actor(command.address).append(events):
            self.log.append(
                LogEvent(
                    *command.address,
                    seq=event.seq,
                    lane=0,
                    position=len(self.log) + 1,
                    type=event.type,
                    version=event.version,
                    at=at,
                    command_id=command.id,
                    payload=msgspec.Raw(event.payload.encode()),
                    causation_id=command.causation_id,
                    correlation_id=command.correlation_id,
                    principal=command.principal,
                )
            )

    def _carry(self, command: Command, turn: Turn) -> None:
        actor = _actor_id(command.address)
        correlation_id = command.correlation_id or command.id
        for number, message in enumerate(turn.messages):
            id = message.id or _digest(f"{actor}/{command.id}/{number}")
            then = None if message.then is None else (command.address, message.then)
            sent = Command(id, message.address, message.method, message.body, correlation_id, command.id, then=then)
            sent = dataclasses.replace(sent.handed_on(command), sender=command.address)
            if message.caller is not None:
                sent = dataclasses.replace(sent, principal=message.caller.principal, roles=message.caller.roles)
            self._queue.append(sent)
        for timer in turn.timers:
            self._timers.pop((command.address, timer.name), None)
            if isinstance(timer, SetTimer):
                id = _digest(f"{actor}/{timer.name}/{command.id}")
                fired = Command(id, command.address, timer.method, timer.body, correlation_id, command.id)
                self._timers[command.address, timer.name] = timer, fired.handed_on(command)


def _actor_id(address: Address) -> str:
    tenant, kind, key = address
    return actor_id(tenant, kind, encode_token(key))


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


class _Screen:
    """See runtime.showing.Screen."""

    def __init__(self, world: World, command: Command) -> None:
        self._world = world
        self._command = command

    def attempt(self) -> int:
        """See Screen."""
        self._world.attempts += 1
        return self._world.attempts

    def show(self, shown: Shown) -> None:
        """See Screen."""
        values = b"[]" if shown.value is None else b"[" + shown.value + b"]"
        fact = Fact(
            "progress", shown.step, self._command.id, *self._command.address, data=msgspec.Raw(values),
            attempt=shown.attempt, occurrence=shown.occurrence, first=shown.number,
        )  # fmt: skip
        self._world.progress.append((len(self._world.log), fact))

    def flush(self, step: str, occurrence: int) -> None:
        """See Screen: nothing waits here."""
