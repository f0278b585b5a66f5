"""The journal of an execution: the recorded results of its steps, so that a step which is completed never runs again.

    receipt = await ctx.step("charge", charge, order, returns=Receipt)

Each completed step is an event of the engine's own on the actor (`troupe.step`), committed before its result is given
to the handler. An execution that starts anew gets the recorded results instead of running the steps again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import msgspec

from runtime.arguments import MAX_KEPT_NESTING, UNENCODABLE, encode_json, json_decoder, nests_too_deep
from runtime.errors import BadResult, Rejected
from runtime.failure import failure_of
from runtime.turn import is_text
from schemas.wire import Failure

T = TypeVar("T")

MAX_STEPS = 10_000
"""Steps of one run; more belong into several commands."""

MAX_NAME_LENGTH = 200

STEP = "step"
"""The name of the system event."""

KEY = "idempotency_key"

_in_step: ContextVar[bool] = ContextVar("_in_step", default=False)
_decoder_for = lru_cache(maxsize=1024)(json_decoder)


class Entry(msgspec.Struct, omit_defaults=True):
    """A completed step, as its event says: the result as JSON, or the refusal with which its function ended.

    `run` is the command's id, `occurrence` counts the steps of that name before it, `concurrent` says that it was not
    the handler's own task that took it.
    """

    run: str
    step: str
    occurrence: int
    attempt: int
    concurrent: bool = False
    result: msgspec.Raw = msgspec.Raw(b"null")
    rejected: Failure | None = None


_decode_entry = msgspec.json.Decoder(Entry).decode


def entries_of(payloads: Sequence[str]) -> list[Entry]:
    """The entries of stored events, in order."""
    return [_decode_entry(payload) for payload in payloads]


class StepsDiverged(BadResult):
    """The handler takes other steps than its journal holds; it is parked, since trying again cannot help."""

    code = "handler_failed"


class Keeper(Protocol):
    """Where a run's entries are kept. Both methods end the execution (CancelledError) when it is another pod's now."""

    async def confirm(self) -> None:
        """Returns once it is certain that the execution is still this pod's."""

    async def keep(self, entry: Entry) -> None:
        """Returns once the entry is committed. Raises BadResult when the log cannot hold it."""


class Steps:
    """The steps of one attempt at a command.

    Replaying follows the simplest rule that is right for steps in a row and for steps side by side: what the handler's
    own task asks for must be, one after the other, what its own task completed before; what other tasks (gather, task
    groups) ask for is found by name and occurrence, whatever the order in which they completed. Entries that nobody
    asked for when the handler returns are a divergence as well. So steps side by side have names of their own.

    Args:
        actor: the actor as errors name it; `key` begins its idempotency keys, and is the actor's and the command's own.
        recorded: the entries of former attempts, in the order of the log.
    """

    def __init__(
        self, actor: str, key: str, run: str, attempt: int, keeper: Keeper, recorded: Sequence[Entry] = ()
    ) -> None:
        self._actor = actor
        self._key = key
        self._run = run
        self._attempt = attempt
        self._keeper = keeper
        self._entries = {(entry.step, entry.occurrence): entry for entry in reversed(recorded)}
        self._line = [(entry.step, entry.occurrence) for entry in recorded if not entry.concurrent]
        self._next = 0
        self._asked: Counter[str] = Counter()
        self._calls = 0
        self._left = set(self._entries)
        self._task: asyncio.Task[Any] | None = None
        self._others: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._failed: str | None = None
        self._diverged: StepsDiverged | None = None

    async def through(self, job: Awaitable[T]) -> T:
        """Runs the handler, in the task that is its own. Steps that still run when it ends are cancelled."""
        self._task = asyncio.current_task()
        try:
            result = await job
            if self._diverged is not None:  # the handler caught it
                raise self._diverged
            if self._left:
                name, occurrence = min(self._left)
                raise self._divergence(f"step {name!r} (occurrence {occurrence}) is recorded, and nobody asked for it")
            return result
        finally:
            self._closed = True
            for task in self._others:
                task.cancel()

    async def step(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], returns: Any
    ) -> Any:
        """See Turn.step."""
        task = asyncio.current_task()
        assert task is not None
        own = task is self._task
        self._check(name)
        occurrence = self._asked[name]
        self._asked[name] += 1
        self._calls += 1
        entry = self._recorded(name, occurrence, own)
        if entry is None:
            if not own:
                self._others.add(task)
            try:
                entry = await self._take(name, occurrence, fn, args, kwargs, returns, concurrent=not own)
            except BaseException as error:
                if own or isinstance(error, Exception):
                    self._failed = self._failed or name
                raise
            finally:
                self._others.discard(task)
        return self._value(entry, returns)

    def _check(self, name: str) -> None:
        if self._closed:
            raise asyncio.CancelledError(f"{self._actor}: the handler has ended")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or "\0" in name or not is_text(name):
            raise BadResult(f"a step's name is a text of 1 to {MAX_NAME_LENGTH} characters without NUL")
        if _in_step.get():
            raise BadResult(f"step {name!r} is taken within another step: take it in the handler itself")
        if self._diverged is not None:
            raise self._diverged
        if self._failed is not None:
            raise BadResult(
                f"step {name!r} is taken after step {self._failed!r} failed, of which the journal knows nothing: let "
                "the error out of the handler, catch it within the step, or raise Rejected there, which is recorded"
            )
        if self._calls >= MAX_STEPS:
            raise BadResult(f"a run takes at most {MAX_STEPS} steps: divide its work among several commands")

    def _recorded(self, name: str, occurrence: int, own: bool) -> Entry | None:
        place = (name, occurrence)
        if own and self._next < len(self._line):
            expected = self._line[self._next]
            if expected != place:
                recorded, times = expected
                self._diverged = self._divergence(
                    f"its next step was {recorded!r} (occurrence {times}), and now {name!r} (occurrence {occurrence}) "
                    "is asked for"
                )
                raise self._diverged
            self._next += 1
        self._left.discard(place)
        return self._entries.get(place)

    def _divergence(self, what: str) -> StepsDiverged:
        return StepsDiverged(
            f"{self._actor}, run {self._run}: the handler left its journal: {what}. It must take the same steps again: "
            "deploy code that does and replay its dead letter, or drop it and send a command with a new id"
        )

    async def _take(
        self,
        name: str,
        occurrence: int,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        returns: Any,
        *,
        concurrent: bool,
    ) -> Entry:
        await self._keeper.confirm()
        entry = Entry(self._run, name, occurrence, self._attempt, concurrent)
        if KEY not in kwargs and _takes_key(fn):
            kwargs = {**kwargs, KEY: f"{self._key}/{name}/{occurrence}"}
        token = _in_step.set(True)
        try:
            value = await _called(fn, args, kwargs)
        except Rejected as error:
            entry.rejected = failure_of(error, self._actor)
        else:
            entry.result = self._encoded(name, value)
            self._value(entry, returns)
        finally:
            _in_step.reset(token)
        await self._keeper.keep(entry)
        return entry

    def _encoded(self, name: str, value: Any) -> msgspec.Raw:
        try:
            encoded = encode_json(value)
        except (*UNENCODABLE, RecursionError) as error:
            raise BadResult(
                f"step {name!r}: its result, a {type(value).__name__}, has no JSON form: {error}"
            ) from error
        if nests_too_deep(encoded, MAX_KEPT_NESTING):
            raise BadResult(f"step {name!r}: its result nests deeper than {MAX_KEPT_NESTING} levels")
        return msgspec.Raw(encoded)

    def _value(self, entry: Entry, returns: Any) -> Any:
        if entry.rejected is not None:
            raise Rejected(entry.rejected.message, entry.rejected.details)
        try:
            return (json_decoder if returns.__hash__ is None else _decoder_for)(returns).decode(entry.result)
        except (*UNENCODABLE, NameError) as error:
            raise BadResult(f"step {entry.step!r}: its result is not of the type in returns=: {error}") from error


async def _called(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A plain function may block: its own thread keeps it from holding up other handlers."""
    if inspect.iscoroutinefunction(fn):
        return await fn(*args, **kwargs)
    value = await asyncio.to_thread(fn, *args, **kwargs)
    return await value if inspect.isawaitable(value) else value


def _takes_key(fn: Callable[..., Any]) -> bool:
    try:
        return KEY in inspect.signature(fn).parameters
    except (TypeError, ValueError):  # a function of C's without a signature
        return False
