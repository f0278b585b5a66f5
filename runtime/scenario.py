"""Tests of one entity without servers: given these events, when this command comes, then these events follow.

    account.given(Deposited(10)).when(Withdraw(3)).then(Withdrawn(3))
    account.given(Deposited(10)).when(Withdraw(30)).then_rejected("insufficient funds")

Events and arguments pass through the JSON that the log and the broker would carry, so what does not survive it fails
here too. Tests of several actors together use runtime.world.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec

from runtime.arguments import encode_json, json_decoder
from runtime.entity import Entity
from runtime.errors import BadResult, CallFailed, Rejected
from runtime.kind import Decision, Kind, Read, StoredEvent
from runtime.sent import CancelTimer, Message, SetTimer, method_and_payload
from runtime.turn import Turn
from schemas.address import Address

S = TypeVar("S")

START_S = 1_700_000_000.0
"""The Unix time of a scenario that names none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario(Generic[S]):
    """An entity's actor in a test, and what its last command did. Made by `entity.given(...)`; never changed.

    Attributes:
        state: the state by now.
        events: what the last command gave, read back from its stored form.
        result: what the caller of the last command gets, as plain JSON values; None when it was rejected.
        messages: commands to other actors that the last command asked for.
        timers: timers that the last command set or cancelled.
        rejected: the refusal of the last command, or None. A refused command changes nothing and sends nothing.
    """

    entity: Entity[S]
    state: S
    seq: int
    turns: int = 0
    events: tuple[Any, ...] = ()
    result: Any = None
    messages: tuple[Message, ...] = ()
    timers: tuple[SetTimer | CancelTimer, ...] = ()
    rejected: Rejected | None = None

    @classmethod
    def given(cls, entity: Entity[S], events: Iterable[Any]) -> Scenario[S]:
        """An actor whose log holds `events`: event objects, or StoredEvents for older versions of them."""
        stored: list[StoredEvent] = []
        for event in events:
            if isinstance(event, StoredEvent):
                stored.append(event._replace(seq=len(stored) + 1))
                continue
            try:
                encoded, _ = entity.settle(entity.initial(), [event], entity.given)
            except BadResult as error:
                raise TypeError(f"{event!r} cannot be in the log of entity {entity.name!r}: {error}") from error
            stored += [StoredEvent(len(stored) + 1, *one) for one in encoded]
        return cls(entity=entity, state=entity.fold(entity.initial(), stored), seq=len(stored))

    def when(
        self,
        command: Any,
        args: Any = None,
        *,
        key: str = "scenario",
        now: float = START_S,
        principal: str | None = None,
        attempt: int = 1,
    ) -> Scenario[S]:
        """The actor after this command: a command object, or a method's name with its arguments beside it.

        `key`, `now` (Unix seconds), `principal` and `attempt` are what the handler sees in `ctx`. A Rejected is kept in
        `rejected`; everything else that the handler raises is raised here. Raises InvalidArguments with the path of
        what does not fit, CallFailed for a method that is not there, BadResult for events that cannot be kept.
        """
        name, payload = named(self.entity, command, args)
        method = self.entity.methods.get(name)
        if not isinstance(method, Decision):
            raise unknown(self.entity, "command", name, Decision)
        turn = Turn(
            Address("default", self.entity.name, key),
            f"scenario-{self.turns + 1}",
            self.seq,
            now,
            attempt=attempt,
            principal=principal,
        )
        before = dataclasses.replace(
            self, turns=self.turns + 1, events=(), result=None, messages=(), timers=(), rejected=None
        )
        try:
            decided = method.decide(self.state, method.arguments.decode(body_of(payload)), turn)
        except Rejected as rejected:
            return dataclasses.replace(before, rejected=rejected)
        stored = [StoredEvent(self.seq + n, *event) for n, event in enumerate(decided.events, 1)]
        return dataclasses.replace(
            before,
            state=self.entity.fold(self.state, stored),
            seq=self.seq + len(stored),
            events=tuple(map(self.entity.read, stored)),
            result=msgspec.json.decode(decided.result),
            messages=tuple(turn.messages),
            timers=tuple(turn.timers),
        )

    def query(self, query: Callable[..., Any] | Any, args: Any = None, *, type: Any = Any) -> Any:
        """What a query answers: its handler, its name, or a question object. The result is read as `type`."""
        name, payload = named(self.entity, query, args)
        method = self.entity.methods.get(name)
        if not isinstance(method, Read):
            raise unknown(self.entity, "query", name, Read)
        turn = Turn(Address("default", self.entity.name, "scenario"), "query", self.seq, START_S)
        answer = method.read(self.state, method.arguments.decode(body_of(payload)), turn)
        return json_decoder(type).decode(answer)

    def then(self, *events: Any) -> Scenario[S]:
        """Asserts that the last command gave exactly these events (none: that it changed nothing and was accepted)."""
        if self.rejected is not None:
            raise AssertionError(f"the command was rejected: {self.rejected}")
        if self.events != events:
            lines = difflib.ndiff([repr(event) for event in events], [repr(event) for event in self.events])
            listed = "\n".join(f"  {line.rstrip()}" for line in lines)
            raise AssertionError(f"the command gave other events ('-' expected, '+' given):\n{listed}")
        return self

    def then_rejected(self, match: str | None = None) -> Scenario[S]:
        """Asserts that the last command was rejected, with a reason in which the pattern `match` is found."""
        if self.rejected is None:
            raise AssertionError(f"the command was not rejected; it gave {list(self.events)!r}")
        if match is not None and not re.search(match, str(self.rejected)):
            raise AssertionError(f"the command was rejected for another reason: {self.rejected} (looked for {match!r})")
        return self


def unknown(kind: Kind, flavor: str, name: str, wanted: type[Any]) -> CallFailed:
    """The error of a pod for a method that is not there, or not of the flavor that is asked for."""
    known = ", ".join(sorted(known for known, method in kind.methods.items() if isinstance(method, wanted))) or "none"
    return CallFailed("unknown_method", f"kind {kind.name!r} has no {flavor} {name!r}; it has {known}")


def body_of(payload: Any) -> bytes:
    """A payload as a command's body; None is the empty body. Raises CallFailed (invalid_arguments)."""
    if payload is None:
        return b""
    try:
        return encode_json(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CallFailed("invalid_arguments", f"the arguments have no JSON form: {error}") from error


def named(kind: Kind, command: Any, args: Any) -> tuple[str, Any]:
    """(method name, payload) of a call given as the handler, as its name, or as a command or question object."""
    for name, method in kind.methods.items():
        if method.handler is command:
            return name, args
    _, name, payload = method_and_payload(kind, command, args)
    return name, payload
