"""Key-value entities: an actor with named values, for those who want no events of their own.

    cart = keyvalue("cart")

    @cart.write
    def add(ctx: KeyValue, item: str, quantity: int = 1) -> int: ...

Underneath they are event-sourced like every actor: each set or delete is an event.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar, overload

import msgspec

from runtime.ambient.handler import Ambient
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
from runtime.kind import (
    SYSTEM_EVENT_PREFIX,
    Behaviour,
    Decided,
    Decision,
    Execution,
    Kind,
    Method,
    NewEvent,
    Read,
    StoredEvent,
)
from runtime.mail import Request
from runtime.policy import OnParked, Retention, RetryPolicy
from runtime.sent import is_text
from runtime.turn import Turn
from schemas.address import Address

Handler = TypeVar("Handler", bound=Callable[..., Any])
T = TypeVar("T")
D = TypeVar("D")
State = Mapping[str, bytes]
"""The values by name, each as the JSON it was stored as: what a handler gets is decoded for it, and shares nothing."""

MAX_NAME_LENGTH = 200


class ValueSet(msgspec.Struct, frozen=True):
    """A value was set."""

    name: str
    value: msgspec.Raw


class ValueDeleted(msgspec.Struct, frozen=True):
    """A value was deleted."""

    name: str


_decode_set = msgspec.json.Decoder(ValueSet).decode
_decode_deleted = msgspec.json.Decoder(ValueDeleted).decode
_decoder_for = lru_cache(maxsize=1024)(json_decoder)
_state_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class KeyValue(Ambient):
    """What a handler of a key-value entity gets as `ctx`: its values, and the turn it is part of."""

    __slots__ = ("_changes", "_state", "_writable", "turn")

    def __init__(self, turn: Turn, state: State, *, writable: bool) -> None:
        self.turn = turn
        self._state = state
        self._changes: dict[str, bytes | None] = {}
        self._writable = writable

    @property
    def address(self) -> Address:
        """Tenant, kind and key of this actor."""
        return self.turn.address

    @property
    def key(self) -> str:
        """This actor's key."""
        return self.turn.address.key

    @overload
    def get(self, name: str, default: D, *, type: type[T]) -> T | D: ...
    @overload
    def get(self, name: str, *, type: type[T]) -> T | None: ...
    @overload
    def get(self, name: str, default: Any = None, *, type: Any = Any) -> Any: ...
    def get(self, name: str, default: Any = None, *, type: Any = Any) -> Any:
        """The value of that name, or `default`. `type` checks and converts it, as msgspec does."""
        stored = self._changes[name] if name in self._changes else self._state.get(name)
        if stored is None:
            return default
        return msgspec.json.decode(stored) if type is Any else _decoder_for(type).decode(stored)

    def set(self, name: str, value: Any) -> None:
        """Sets a value: anything that has a JSON form. Kept when the turn commits."""
        self._check(name)
        guard.checked(name.encode("utf-8", "surrogatepass"), "the name of a value")
        try:
            encoded = encode_json(value)
        except (*UNENCODABLE, RecursionError) as error:
            raise BadResult(f"the value set for {name!r} has no JSON form: {error}") from error
        if nests_too_deep(encoded, MAX_KEPT_NESTING):
            raise BadResult(f"the value set for {name!r} nests deeper than {MAX_KEPT_NESTING} levels")
        self._changes[name] = guard.checked(encoded, f"the value set for {name!r}")

    def delete(self, name: str) -> None:
        """Deletes a value; nothing happens when there is none."""
        self._check(name)
        self._changes[name] = None

    def names(self) -> list[str]:
        """The names that have a value, sorted."""
        gone = {name for name, value in self._changes.items() if value is None}
        return sorted((self._state.keys() | self._changes.keys()) - gone)

    def tell(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        id: str | None = None,
        then: str | None = None,
    ) -> None:
        """See Turn.tell."""
        self._check_writable("send messages")
        self.turn.tell(kind, key, command, args, id=id, then=then)

    def cancel_run(self, kind: Kind | str, key: str, run: str, reason: str = "") -> None:
        """See Turn.cancel_run."""
        self._check_writable("cancel runs")
        self.turn.cancel_run(kind, key, run, reason)

    def ask(
        self, kind: Kind | str, key: str, command: Any, args: Any = None, *, type: Any = Any, timeout_s: float = 30.0
    ) -> Awaitable[Any]:
        """See Turn.ask; for `async` handlers."""
        return self.turn.ask(kind, key, command, args, type=type, timeout_s=timeout_s)

    def step(
        self, name: str, fn: Callable[..., Any], /, *args: Any, returns: Any = Any, **kwargs: Any
    ) -> Awaitable[Any]:
        """See Turn.step; for `async` handlers."""
        return self.turn.step(name, fn, *args, returns=returns, **kwargs)

    def sleep(self, seconds: float) -> Awaitable[None]:
        """See Turn.sleep; for `async` handlers."""
        return self.turn.sleep(seconds)

    def signal(self, name: str, *, returns: Any = Any, timeout_s: float | None = None) -> Awaitable[Any]:
        """See Turn.signal; for `async` handlers."""
        return self.turn.signal(name, returns=returns, timeout_s=timeout_s)

    def update(self, name: str, *, returns: Any = Any, timeout_s: float | None = None) -> Awaitable[Request]:
        """See Turn.update; for `async` handlers."""
        return self.turn.update(name, returns=returns, timeout_s=timeout_s)

    def schedule(
        self, name: str, command: Any, args: Any = None, *, after_s: float | None = None, at: float | None = None
    ) -> None:
        """See Turn.schedule."""
        self._check_writable("set timers")
        self.turn.schedule(name, command, args, after_s=after_s, at=at)

    def cancel(self, name: str) -> None:
        """See Turn.cancel."""
        self._check_writable("cancel timers")
        self.turn.cancel(name)

    def events(self) -> list[NewEvent]:
        """What was changed, as events; a value set to what it was is not an event."""
        events = []
        for name, value in self._changes.items():
            if value is None:
                if name in self._state:
                    events.append(NewEvent("ValueDeleted", 1, encode_json(ValueDeleted(name)).decode()))
            elif self._state.get(name) != value:
                events.append(NewEvent("ValueSet", 1, encode_json(ValueSet(name, msgspec.Raw(value))).decode()))
        return events

    def _check(self, name: str) -> None:
        self._check_writable("change values")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not is_text(name):
            raise BadResult(f"a value's name is a text of 1 to {MAX_NAME_LENGTH} characters, not {name!r:.80}")

    def _check_writable(self, what: str) -> None:
        if not self._writable:
            raise BadResult(f"a shared handler may not {what}: declare it with @write")


def fold_values(state: State, events: Sequence[StoredEvent]) -> State:
    """The values after these events. Raises UnreadableEvent."""
    values = dict(state)
    for event in events:
        try:
            if event.type == "ValueSet":
                change = _decode_set(event.payload)
                values[change.name] = bytes(change.value)
            elif event.type == "ValueDeleted":
                values.pop(_decode_deleted(event.payload).name, None)
            elif not event.type.startswith(SYSTEM_EVENT_PREFIX):
                raise UnreadableEvent(f"event {event.seq} is of type {event.type!r}, which no key-value entity has")
        except msgspec.DecodeError as error:
            raise UnreadableEvent(f"event {event.seq}, {event.type!r}, cannot be decoded: {error}") from error
    return values


class KeyValueEntity(Kind):
    """A kind of actor with named values. Made by `keyvalue()`."""

    type = "kv"
    fold_version = "keyvalue-1"

    def initial(self) -> State:
        return {}

    def fold(self, state: State, events: Sequence[StoredEvent]) -> State:
        return fold_values(state, events)

    def encode_state(self, state: State) -> bytes:
        return msgspec.json.encode({name: msgspec.Raw(value) for name, value in state.items()})

    def decode_state(self, snapshot: bytes) -> State:
        return {name: bytes(value) for name, value in _state_decoder.decode(snapshot).items()}

    def method_for(self, command: Any) -> str:
        names = [
            name
            for name, method in self._methods.items()
            if method.arguments.single and method.arguments.payload is type(command)
        ]
        if len(names) == 1:
            return names[0]
        if names:
            raise TypeError(f"{' and '.join(names)} of key-value entity {self.name!r} both take this: name the method")
        raise TypeError(f"key-value entity {self.name!r} has no method that takes {type(command).__name__}")

    @overload
    def write(self, handler: Handler) -> Handler: ...
    @overload
    def write(self, *, name: str | None = None, timeout_s: float | None = None) -> Callable[[Handler], Handler]: ...
    def write(self, handler: Handler | None = None, *, name: str | None = None, timeout_s: float | None = None) -> Any:
        """Registers a handler `(ctx, …)` that has its key to itself.

        A plain function is a decision. An `async` one may wait and do I/O: it is accepted first, holds its key while it
        runs, and its changes are kept together at its end; after a crash it starts again
        from its beginning, and does not run again the steps (`ctx.step`) that it had completed.
        """
        if handler is None:
            return lambda given: self.write(given, name=name, timeout_s=timeout_s)  # type: ignore[call-overload]  # not None
        return self._register(handler, name, exclusive=True, timeout_s=timeout_s)

    @overload
    def shared(self, handler: Handler) -> Handler: ...
    @overload
    def shared(self, *, name: str | None = None, timeout_s: float | None = None) -> Callable[[Handler], Handler]: ...
    def shared(self, handler: Handler | None = None, *, name: str | None = None, timeout_s: float | None = None) -> Any:
        """Registers a handler `(ctx, …)` that only reads, beside others and beside a running `write`."""
        if handler is None:
            return lambda given: self.shared(given, name=name, timeout_s=timeout_s)  # type: ignore[call-overload]  # not None
        return self._register(handler, name, exclusive=False, timeout_s=timeout_s)

    def _register(
        self, handler: Callable[..., Any], name: str | None, *, exclusive: bool, timeout_s: float | None
    ) -> Any:
        method: Method
        if inspect.iscoroutinefunction(handler):
            method = _KeyValueExecution(name or handler.__name__, handler, exclusive, timeout_s)
        elif exclusive:
            method = _KeyValueWrite(name or handler.__name__, handler)
        else:
            method = _KeyValueRead(name or handler.__name__, handler)
        if method.name in self._methods:
            raise BadDefinition(f"key-value entity {self.name!r} has two methods named {method.name!r}")
        self._methods[method.name] = method
        return handler


class _KeyValueMethod(Method):
    def __init__(self, name: str, handler: Callable[..., Any]) -> None:
        if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            raise BadDefinition(f"{name_of(handler)} is a generator: return the values as a list")
        hints = hints_of(handler)
        parameters = list(inspect.signature(handler).parameters.values())
        if not parameters:
            raise BadDefinition(f"{name_of(handler)} takes ctx as its first parameter")
        super().__init__(
            name, handler, Arguments(handler, parameters[1:], hints), Result(handler, hints.get("return", Any))
        )


class _KeyValueWrite(_KeyValueMethod, Decision):
    def decide(self, state: Any, payload: Any, turn: Turn) -> Decided:
        context = KeyValue(turn, state, writable=True)
        value = self.handler(context, *self.arguments.spread(payload))
        return _settle(context, state, self.result.encode(value))


class _KeyValueRead(_KeyValueMethod, Read):
    def read(self, state: Any, payload: Any, turn: Turn) -> bytes:
        return self.result.encode(self.handler(KeyValue(turn, state, writable=False), *self.arguments.spread(payload)))


class _KeyValueExecution(_KeyValueMethod, Execution):
    def __init__(self, name: str, handler: Callable[..., Any], exclusive: bool, timeout_s: float | None) -> None:
        super().__init__(name, handler)
        self.exclusive = exclusive
        self.timeout_s = timeout_s

    async def run(self, state: Any, payload: Any, turn: Turn) -> Decided:
        context = KeyValue(turn, state, writable=self.exclusive)
        async with asyncio.timeout(self.timeout_s):
            value = await self.handler(context, *self.arguments.spread(payload))
        return _settle(context, state, self.result.encode(value))


def _settle(context: KeyValue, state: State, result: bytes) -> Decided:
    events = context.events()
    if not events:
        return Decided(events, state, result)
    stored = [StoredEvent(context.turn.seq + n, *event) for n, event in enumerate(events, 1)]
    return Decided(events, fold_values(state, stored), result)


def keyvalue(
    name: str,
    *,
    retry: RetryPolicy | None = None,
    on_parked: OnParked = "continue",
    snapshot_every: int = 200,
    retention: Retention | None = None,
) -> KeyValueEntity:
    """Defines a kind of actor with named values. See `entity` for the arguments."""
    return KeyValueEntity(name, Behaviour(retry or RetryPolicy(), on_parked, snapshot_every, retention))
