"""Typed, event-sourced entities: a handler turns (state, command) into events, `apply` folds them.

    account = entity("account", initial=Account(), apply=apply)

    @account.command
    def withdraw(state: Account, command: Withdraw) -> Withdrawn: ...

Handlers are pure: what they ask of the outside, they ask of `ctx`, and it takes effect with the commit.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeVar, overload

import msgspec

from runtime.ambient.secrets import guard
from runtime.arguments import (
    MAX_KEPT_NESTING,
    UNENCODABLE,
    Arguments,
    Result,
    encode_json,
    hints_of,
    json_decoder,
    name_of,
    nests_too_deep,
)
from runtime.errors import BadDefinition, BadResult, UnreadableEvent
from runtime.failure import text_of
from runtime.fold import Class, EventType, Upcast, digest_of, events_of, mutable_in, state_type_of
from runtime.index import Change, Index
from runtime.kind import (
    SYSTEM_EVENT_PREFIX,
    Behaviour,
    Decided,
    Decision,
    Inquiry,
    Kind,
    Method,
    NewEvent,
    Read,
    StoredEvent,
    made_of,
)
from runtime.policy import OnParked, Retention, RetryPolicy
from runtime.turn import Turn

if typing.TYPE_CHECKING:
    from runtime.scenario import Scenario

S = TypeVar("S")
Handler = TypeVar("Handler", bound=Callable[..., Any])
Changes = TypeVar("Changes", bound=Callable[[Any], Sequence[Change]])

CONTEXT_PARAMETER = "ctx"


class Entity(Kind, Generic[S]):
    """A kind of actor whose state is the fold of its events. Made by `entity()`."""

    type = "entity"

    def __init__(
        self,
        name: str,
        *,
        initial: S,
        apply: Callable[[S, Any], S],
        events: Iterable[Class],
        behaviour: Behaviour,
        version: str | None,
    ) -> None:
        super().__init__(name, behaviour)
        self._apply = apply
        self._version = version
        self._event_types: dict[str, EventType] = {}
        self._by_python_type: dict[Class, EventType] = {}
        self._by_payload: dict[Class, list[str]] = {}
        for python_type in events:
            event_type = EventType(python_type)
            if event_type.name in self._event_types or event_type.name.startswith(SYSTEM_EVENT_PREFIX):
                raise BadDefinition(f"entity {name!r} has two events named {event_type.name!r}")
            self._event_types[event_type.name] = self._by_python_type[python_type] = event_type
        self._state_type = state_type_of(apply, initial)
        if mutable := mutable_in(self._state_type) or mutable_in(type(initial)):
            raise BadDefinition(
                f"the state of entity {name!r} is of type {mutable}, which can be changed in place: declare it "
                "frozen=True (or use a tuple or a frozenset), and let apply make a new state"
            )
        try:
            self._state_decoder: msgspec.json.Decoder[S] = json_decoder(self._state_type)
            self._encoded_initial = self.encode_state(initial)
            self.decode_state(self._encoded_initial)
        except (*UNENCODABLE, NameError) as error:
            raise BadDefinition(f"the state of entity {name!r} has no JSON form, so no snapshot: {error}") from error
        self._fold_version = self._digest()
        self._may_be_none = initial is None or types.NoneType in typing.get_args(self._state_type)

    @overload
    def command(self, handler: Handler) -> Handler: ...
    @overload
    def command(self, *, name: str) -> Callable[[Handler], Handler]: ...
    def command(self, handler: Handler | None = None, *, name: str | None = None) -> Any:
        """Registers a decision: `(state, command)` or `(state, command, ctx)` to an event, several, or None.

        Instead of one command object it may take arguments by name; `ctx` is then the last parameter or the second.
        It must be pure: what it asks of the outside it asks of `ctx`. Raise Rejected to refuse.
        """
        return self._register(handler, name, _EntityDecision)

    @overload
    def query(self, handler: Handler) -> Handler: ...
    @overload
    def query(self, *, name: str) -> Callable[[Handler], Handler]: ...
    def query(self, handler: Handler | None = None, *, name: str | None = None) -> Any:
        """Registers a read of committed state: `(state)` or `(state, question)` to any value that has a JSON form.

        An `async` one may wait, and reads logs and the entity's index by `ctx.reading` (runtime.reading).
        """
        return self._register(handler, name, _read_of)

    def index(self, *, version: str) -> Callable[[Changes], Changes]:
        """Registers what an event changes in the index of its actor; see runtime.index."""

        def register(changes: Changes) -> Changes:
            if self.indexed_by is not None:
                raise BadDefinition(f"entity {self.name!r} has two indexes: one function gives all its documents")
            self.indexed_by = Index(changes, version, self.read)
            return changes

        return register

    def upcast(self, event: Class, *, from_version: int) -> Callable[[Upcast], Upcast]:
        """Registers the pure step that turns `from_version` of an event's fields into the next version's."""
        event_type = self._by_python_type.get(event)
        if event_type is None:
            raise BadDefinition(f"{event.__name__} is not an event of entity {self.name!r}")
        if from_version != event_type.version:
            raise BadDefinition(
                f"upcasts of {event.__name__} are registered in order: the next is from_version={event_type.version}"
            )

        def register(step: Upcast) -> Upcast:
            event_type.upcasts[from_version] = step
            event_type.version = from_version + 1
            self._fold_version = self._digest()
            return step

        return register

    def _register(
        self, handler: Callable[..., Any] | None, name: str | None, make: Callable[..., _EntityMethod]
    ) -> Any:
        if handler is None:
            return lambda given: self._register(given, name, make)
        method = make(self, name or handler.__name__, handler)
        if method.name in self._methods:
            raise BadDefinition(f"entity {self.name!r} has two methods named {method.name!r}")
        self._methods[method.name] = method
        if method.arguments.single:
            self._by_payload.setdefault(method.arguments.payload, []).append(method.name)
        return handler

    @property
    def fold_version(self) -> str:
        return self._fold_version

    def _digest(self) -> str:
        return self._version or digest_of(self._apply, self._state_type, self._event_types.values())

    def initial(self) -> S:
        return self.decode_state(self._encoded_initial)  # each actor its own: what is inside may be mutable

    def fold(self, state: S, events: Sequence[StoredEvent]) -> S:
        apply, event_types = self._apply, self._event_types
        for event in events:
            try:
                state = apply(state, event_types[event.type].read(event))
            except Exception as error:
                if event.type.startswith(SYSTEM_EVENT_PREFIX):
                    continue
                raise self._unreadable(event, error) from error
            if state is None and not self._may_be_none:
                raise UnreadableEvent(f"event {event.seq} cannot be folded: {self._none_given(event.type)}")
        return state

    def read(self, event: StoredEvent) -> Any:
        """The stored event as its type of today. Raises UnreadableEvent."""
        try:
            return self._event_types[event.type].read(event)
        except Exception as error:
            raise self._unreadable(event, error) from error

    def _unreadable(self, event: StoredEvent, error: Exception) -> UnreadableEvent:
        if event.type not in self._event_types:
            known = ", ".join(sorted(self._event_types)) or "none"
            return UnreadableEvent(f"event {event.seq} is of type {event.type!r}; this code knows {known}")
        place = f"event {event.seq}, {event.type!r} version {event.version},"
        return UnreadableEvent(f"{place} cannot be folded: {text_of(error)}")

    def encode_state(self, state: S) -> bytes:
        return encode_json(state)

    def decode_state(self, snapshot: bytes) -> S:
        return self._state_decoder.decode(snapshot)

    def method_for(self, command: Any) -> str:
        names = self._by_payload.get(type(command), [])
        if len(names) == 1:
            return names[0]
        if names:
            raise TypeError(f"{' and '.join(names)} of entity {self.name!r} both take this: name the method")
        raise TypeError(f"entity {self.name!r} has no method that takes {type(command).__name__}")

    def settle(self, state: S, produced: Any, handler: Callable[..., Any]) -> tuple[list[NewEvent], S]:
        """The handler's events, encoded, and the state folded from their stored form. Raises BadResult."""
        if produced is None:
            return [], state
        # An event may itself be a tuple (a NamedTuple), so its type is asked for first.
        one = type(produced) in self._by_python_type or not isinstance(produced, (list, tuple))
        events: list[NewEvent] = []
        for event in (produced,) if one else produced:
            event_type = self._by_python_type.get(type(event))
            if event_type is None:
                raise BadResult(
                    f"{name_of(handler)} returned {type(event).__name__}, which is not an event of entity "
                    f"{self.name!r} ({', '.join(sorted(self._event_types))})"
                )
            try:
                encoded = encode_json(event)
                if guard.knows:
                    guard.checked(encoded, f"event {event_type.name}")
                payload = encoded.decode()
                # What is folded is what the log will give back, so that a live state and a replayed one agree.
                kept = event_type.decode(payload)
            except (*UNENCODABLE, RecursionError) as error:
                raise BadResult(
                    f"{name_of(handler)} returned {event_type.name} that cannot be kept: {error}"
                ) from error
            if nests_too_deep(payload, MAX_KEPT_NESTING):
                raise BadResult(
                    f"{name_of(handler)} returned {event_type.name} that nests deeper than {MAX_KEPT_NESTING} levels"
                )
            try:
                state = self._apply(state, kept)
            except Exception as error:
                raise BadResult(f"{name_of(self._apply)} failed on {event_type.name}: {error!r}") from error
            if state is None and not self._may_be_none:
                raise BadResult(self._none_given(event_type.name))
            events.append(made_of(NewEvent, (event_type.name, event_type.version, payload)))
        return events, state

    def _none_given(self, event: str) -> str:
        return f"{name_of(self._apply)} gave None for {event}: return the next state for every event"

    def given(self, *events: Any) -> Scenario[S]:
        """A test without servers: `account.given(Deposited(10)).when(Withdraw(30))`."""
        from runtime.scenario import Scenario  # noqa: PLC0415  # the test harness is loaded by tests only

        return Scenario.given(self, events)


class _EntityMethod(Method):
    """What an entity's commands and queries share: the state first, then the payload, and perhaps `ctx`."""

    waits: ClassVar[bool] = False

    def __init__(self, entity: Entity[Any], name: str, handler: Callable[..., Any]) -> None:
        if (
            (inspect.iscoroutinefunction(handler) and not self.waits)
            or inspect.isgeneratorfunction(handler)
            or inspect.isasyncgenfunction(handler)
        ):
            raise BadDefinition(
                f"{name_of(handler)} must be a plain function: an entity's handlers are pure, "
                "and what waits or does I/O belongs into a function"
            )
        hints = hints_of(handler)
        parameters = list(inspect.signature(handler).parameters.values())
        if not parameters:
            raise BadDefinition(f"{name_of(handler)} takes the state as its first parameter")
        self.entity = entity
        rest = [parameter for parameter in parameters[1:] if parameter.name != CONTEXT_PARAMETER]
        self.takes_context = len(rest) < len(parameters) - 1
        # Second, it may stand before parameters with defaults.
        self._context_second = self.takes_context and parameters[1].name == CONTEXT_PARAMETER
        if self.takes_context and not self._context_second and parameters[-1].name != CONTEXT_PARAMETER:
            raise BadDefinition(
                f"{name_of(handler)} takes ctx amid its arguments: make it the second parameter or the last"
            )
        returns = self._result_annotation(hints)
        super().__init__(name, handler, Arguments(handler, rest, hints), Result(handler, returns))
        self._call: Callable[[Any, Any, Turn], Any] = self._caller()

    def _result_annotation(self, hints: dict[str, Any]) -> Any:
        return Any

    def _caller(self) -> Callable[[Any, Any, Turn], Any]:
        handler, spread = self.handler, self.arguments.spread
        if self._context_second:
            return lambda state, payload, turn: handler(state, turn, *spread(payload))
        if self.arguments.single:
            if self.takes_context:
                return handler  # type: ignore[no-any-return]  # takes (state, payload, turn) by its definition
            return lambda state, payload, turn: handler(state, payload)
        if self.takes_context:
            return lambda state, payload, turn: handler(state, *spread(payload), turn)
        return lambda state, payload, turn: handler(state, *spread(payload))


class _EntityDecision(_EntityMethod, Decision):
    def decide(self, state: Any, payload: Any, turn: Turn) -> Decided:
        events, after = self.entity.settle(state, self._call(state, payload, turn), self.handler)
        reply = turn.reply_value
        return made_of(Decided, (events, after, b"null" if reply is None else self.result.encode(reply)))


class _EntityRead(_EntityMethod, Read):
    def _result_annotation(self, hints: dict[str, Any]) -> Any:
        return hints.get("return", Any)

    def read(self, state: Any, payload: Any, turn: Turn) -> bytes:
        value = self._call(state, payload, turn)
        if turn.messages or turn.timers:
            raise BadResult(f"{name_of(self.handler)} is a query, so it may not send messages or set timers")
        return self.result.encode(value)


class _EntityInquiry(_EntityMethod, Inquiry):
    waits = True

    def _result_annotation(self, hints: dict[str, Any]) -> Any:
        return hints.get("return", Any)

    async def inquire(self, state: Any, payload: Any, turn: Turn) -> bytes:
        value = await self._call(state, payload, turn)
        if turn.messages or turn.timers:
            raise BadResult(f"{name_of(self.handler)} is a query, so it may not send messages or set timers")
        return self.result.encode(value)


def _read_of(entity: Entity[Any], name: str, handler: Callable[..., Any]) -> _EntityMethod:
    return (_EntityInquiry if inspect.iscoroutinefunction(handler) else _EntityRead)(entity, name, handler)


def entity(
    name: str,
    *,
    initial: S,
    apply: Callable[[S, Any], S],
    events: Iterable[Class] | None = None,
    retry: RetryPolicy | None = None,
    on_parked: OnParked = "continue",
    snapshot_every: int = 200,
    retention: Retention | None = None,
    version: str | None = None,
) -> Entity[S]:
    """Defines a kind of event-sourced actor.

    Args:
        name: the kind, part of every address: 1 to 64 letters, digits, '_' or '-'.
        initial: the state of an actor without events. It must be immutable and have a JSON form.
        apply: the pure fold `(state, event) -> state`. The annotation of its second parameter names the events, that of
            its first the type a snapshot is read back as (the type of `initial` when there is none).
        events: the event types, when the annotation of `apply` does not say.
        retry: what happens when a handler fails; three quick attempts by default.
        on_parked: whether the actor goes on or pauses after a message was parked.
        snapshot_every: events between snapshots; 0 for none.
        retention: which events stay rows of the log's table, while older ones are archived; all of them by default.
        version: names the fold; by default a digest of `apply` and of the state's shape. Set it when `apply` calls
            functions that may change.

    Raises BadDefinition when the definition cannot work.
    """
    types_ = list(events) if events is not None else events_of(apply)
    behaviour = Behaviour(retry or RetryPolicy(), on_parked, snapshot_every, retention)
    return Entity(name, initial=initial, apply=apply, events=types_, behaviour=behaviour, version=version)
