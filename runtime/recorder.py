"""What an execution's attempt records: the results of its steps and of its waits, each before the handler gets it.

An entry is an event of the engine's own on the actor (`troupe.step`). How an attempt that starts anew finds its entries
again is the strategy of a subclass: by name and in order (runtime.journal), or by number (runtime.flow.paced).
"""

from __future__ import annotations

import abc
import asyncio
import inspect
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from functools import lru_cache, partial
from inspect import CO_COROUTINE
from types import FunctionType
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec

from runtime.activity import outside
from runtime.ambient.secrets import guard
from runtime.ambient.step import in_step
from runtime.arguments import MAX_KEPT_NESTING, UNENCODABLE, encode_json, json_decoder, nests_too_deep
from runtime.errors import BadResult, Cancelled, Rejected
from runtime.failure import failure_of
from runtime.heartbeats import BEAT, Beats, Source
from runtime.sent import is_text
from runtime.showing import Screen, Showing, showing_in
from runtime.stubs import instead
from schemas.wire import Failure

T = TypeVar("T")

MAX_NAME_LENGTH = 200

STEP = "step"
"""The name of the system event."""

KEY = "idempotency_key"

CONFIG = "$config "
"""Begins the names of entries that say what the run has read of the configuration."""

CANCELLED = "$cancelled"
"""The entry that says where in its steps the handler was told of its cancellation."""

_decoder_for = lru_cache(maxsize=1024)(json_decoder)


class Entry(msgspec.Struct, omit_defaults=True):
    """A completed step, as its event says: the result as JSON, or the refusal with which its function ended.

    `run` is the command's id, `occurrence` counts the steps of that name before it, `concurrent` says that it was not
    the handler's own task that took it, `took_ms` how long its function took. A workflow's entry has in addition its
    number in the run (from 1), a digest of the arguments, and the time of its end (Unix milliseconds). `failed` is the
    failure after its last attempt, or that its result is none that the log can hold.
    """

    run: str
    step: str
    occurrence: int
    attempt: int
    concurrent: bool = False
    result: msgspec.Raw = msgspec.Raw(b"null")
    rejected: Failure | None = None
    took_ms: int = 0
    number: int = 0
    digest: int = 0
    at: int = 0
    failed: Failure | None = None


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


class Nobody:
    """Keeps nothing: the Keeper of an attempt that is over."""

    async def confirm(self) -> None:
        """See Keeper."""
        raise asyncio.CancelledError("the attempt is over")

    async def keep(self, entry: Entry) -> None:
        """See Keeper."""
        raise asyncio.CancelledError("the attempt is over")

    def send(self, entry: Entry, kept: Callable[[BaseException | None], None]) -> Callable[[], object]:
        """See runtime.flow.sending.Sender."""
        kept(asyncio.CancelledError("the attempt is over"))
        return lambda: None


class Recorder(abc.ABC):
    """The steps of one attempt at a command.

    Args:
        actor: the actor as errors name it; `key` begins its idempotency keys, and is the actor's and the command's own.
        recorded: the entries of former attempts, in the order of the log.
    """

    answers_are_entries: ClassVar[bool] = False
    """Whether what came of a question is an entry: then a new attempt knows no answer that this one had not."""
    keeps_failures: ClassVar[bool] = False
    """Whether that a step has failed is an entry."""
    shows_for_good: ClassVar[bool] = False
    """Whether a new attempt goes on behind what this one has shown outside of its steps."""

    def __init__(
        self, actor: str, key: str, run: str, attempt: int, keeper: Keeper, recorded: Sequence[Entry] = ()
    ) -> None:
        self._actor = actor
        self._key = key
        self._run = run
        self._attempt = attempt
        self._keeper = keeper
        self._beats: dict[tuple[str, int], Beats] = {}
        self._details: dict[tuple[str, int], bytes] = {}
        self.journal = recorded
        """The entries of former attempts, without heartbeats, which nobody asks for."""
        self._entries: dict[tuple[str, int], Entry] = {}
        self._configured: dict[str, msgspec.Raw] = {}
        if recorded:
            self._remember(recorded)
        self.committed: Callable[[], None] | None = None
        """Is called when an entry is committed that nothing of the attempt so far is behind."""
        self._calls = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        """That of handlers, once anything has run there."""
        self._closed = False
        self._cancel: str | None = None
        self._thrown = False
        self.left_over: Callable[[Entry], None] | None = None
        """Is given what came for a wait that was given up meanwhile."""
        self.begun = bool(recorded)
        """Whether a former attempt left anything. If not, one that is cancelled has nothing to undo, and is not run."""
        self.working = 0
        """Steps that run now, waiting not counted."""
        self.stubs: Mapping[str, Callable[..., Any]] = {}
        """What is run instead of the functions of steps, by the steps' names; for tests."""
        self.screen: Screen | None = None
        """Where what it shows goes; None where nobody can watch."""
        self._showing: Showing | None = None

    def _remember(self, recorded: Sequence[Entry]) -> None:
        self._details = {
            (entry.step.removeprefix(BEAT), entry.occurrence): bytes(entry.result)
            for entry in recorded
            if entry.step.startswith(BEAT)
        }
        if self._details:
            self.journal = [entry for entry in recorded if not entry.step.startswith(BEAT)]
        self._entries = {(entry.step, entry.occurrence): entry for entry in reversed(self.journal)}
        self._configured = {
            entry.step.removeprefix(CONFIG): entry.result for entry in recorded if entry.step.startswith(CONFIG)
        }

    def recorded(self, *prefixes: str) -> list[Entry]:
        """The entries of former attempts whose names begin with one of `prefixes`."""
        return [entry for entry in self._entries.values() if entry.step.startswith(prefixes)]

    @property
    @abc.abstractmethod
    def own(self) -> asyncio.Task[Any] | None:
        """The handler's own task, once it runs."""

    @property
    def replaying(self) -> bool:
        """Whether the handler does again what a former attempt did: something that is recorded is still to come."""
        return False

    def recall(self, name: str, find: Callable[[], Any]) -> Any:
        """What the run reads of the configuration under a name: recorded, and from then on the same."""
        known = self._configured.get(name)
        if known is None:
            known = self._configured[name] = self._encoded(CONFIG + name, find())
            entry = Entry(self._run, CONFIG + name, 0, self._attempt, result=known)
            if self._loop is None or asyncio._get_running_loop() is self._loop:
                self._note(entry)
            else:  # a step's thread, or a loop of its own
                self._loop.call_soon_threadsafe(self._note, entry, context=outside())
        return msgspec.json.decode(known)

    @abc.abstractmethod
    def _note(self, entry: Entry) -> None:
        """Keeps an entry that nobody waits for, before all that is kept later."""

    @property
    def taken(self) -> int:
        """Steps that were asked for so far."""
        return self._calls

    @property
    def told(self) -> bool:
        """Whether the handler was told of its cancellation."""
        return self._thrown

    @property
    def to_be_told(self) -> bool:
        """Whether the handler is still to be told of its cancellation."""
        return self._cancel is not None and not self._thrown

    @property
    def progress(self) -> object:
        """A value that changes when the attempt goes on, apart from waits of its own task."""
        return self._thrown

    def check_open(self) -> None:
        """Raises asyncio.CancelledError when the attempt has ended."""
        if self._closed:
            raise asyncio.CancelledError(f"{self._actor}: the handler has ended")

    def stop(self) -> None:
        """This attempt takes no step any more, asks nobody, and is told of no cancellation: another one begins anew."""
        self._closed = True

    def release(self) -> None:
        """The attempt is over: lets go of all that holds it, so that it goes without a collection of garbage."""
        self._closed = True
        self._keeper = Nobody()
        self.left_over = self.committed = None
        if self._showing is not None:
            self._showing.end()
        self.screen = self._showing = None

    @abc.abstractmethod
    def cancel(self, reason: str) -> None:
        """Tells the handler, by asyncio.CancelledError, once it has done again all that it did before.

        Steps that it takes after that are recorded as any others: it may undo what it did. Later calls do nothing.
        """

    @abc.abstractmethod
    async def through(self, job: Awaitable[T]) -> T:
        """Runs the handler. Steps that still run when it ends are cancelled.

        Raises Cancelled when it was cancelled and ended by that.
        """

    @abc.abstractmethod
    def only_waits(self, waiting: Container[asyncio.Task[Any]]) -> bool:
        """Whether the attempt does nothing but wait, as the tasks `waiting` do."""

    @abc.abstractmethod
    async def due(self, name: str, seconds: float, now: Callable[[], float]) -> float:
        """The time (Unix seconds) at which a wait of so many seconds is over, the same on every attempt."""

    @abc.abstractmethod
    async def pass_time(self, name: str, seconds: float, wait: Callable[[], Awaitable[None]]) -> None:
        """Waits, by `wait`, for a time that `due` gave."""

    def beats(self, name: str = "", occurrence: int = 0) -> Source:
        """Where the heartbeats of an attempt at a step, or at a function itself, come from."""
        return Source(partial(self._beats_of, name, occurrence), self._handlers())

    def _handlers(self) -> asyncio.AbstractEventLoop:
        """The loop of handlers. (Asking asyncio for it is a system call, which takes longer than all else here.)"""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _beats_of(self, name: str, occurrence: int) -> Beats:
        place = (name, occurrence)
        if place not in self._beats:

            async def keep(detail: bytes) -> None:
                entry = Entry(self._run, BEAT + name, occurrence, self._attempt, concurrent=True)
                entry.result = msgspec.Raw(detail)
                await self._keeper.keep(entry)

            self._beats[place] = Beats(self._details.get(place), keep)
        return self._beats[place]

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        returns: Any,
        heartbeat_timeout_s: float | None = None,
    ) -> Any:
        """See Turn.step."""
        check_step_name(name)

        async def run(occurrence: int, entry: Entry) -> None:
            await self._take(name, occurrence, fn, args, kwargs, returns, entry, heartbeat_timeout_s)

        return self._value(await self._entry(name, run, (args, kwargs)), returns)

    async def wait(self, name: str, fn: Callable[[], Awaitable[Any]], asked: Any = None) -> bytes:
        """The result, as JSON, of the engine's own waiting, which does nothing outside; recorded as a step is.

        `asked` tells this wait from others under the same name.
        """

        async def run(_: int, entry: Entry) -> None:
            entry.result = self._encoded(name, await fn(), own=True)

        return bytes((await self._entry(name, run, asked)).result)

    async def say(self, name: str, result: Any, refusal: Failure | None) -> None:
        """Records what the commit of the entry also tells somebody else."""

        async def run(_: int, entry: Entry) -> None:
            entry.result, entry.rejected = self._encoded(name, result), refusal

        await self._entry(name, run)

    def showing(self) -> Showing | None:
        """By what the handler shows values outside of its steps; None when it shows none now."""
        if self._showing is None:
            self._showing = Showing(self.screen, self._handlers(), lasting=self.shows_for_good)
        return self._showing

    @abc.abstractmethod
    async def _entry(self, name: str, run: Callable[[int, Entry], Awaitable[None]], asked: Any = None) -> Entry:
        """The entry of the next step of that name: the recorded one, or what `run` fills in, once it is committed."""

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"{self._actor}, run {self._run}, was cancelled: {self._cancel or 'no reason was given'}")

    async def _take(
        self,
        name: str,
        occurrence: int,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        returns: Any,
        entry: Entry,
        heartbeat_timeout_s: float | None = None,
    ) -> None:
        """Runs a step's function once; what came of it goes into the entry. Raises what the function raises."""
        await self._keeper.confirm()
        fn = instead(self.stubs[name], fn) if name in self.stubs else fn
        self.working += 1
        loop = self._handlers()
        began = loop.time()
        try:
            await self._run_step(name, occurrence, fn, args, kwargs, entry, heartbeat_timeout_s)
        finally:
            self.working -= 1
        entry.took_ms = round((loop.time() - began) * 1000)
        if entry.rejected is None and entry.failed is None:
            self._value(entry, returns)

    async def _run_step(
        self,
        name: str,
        occurrence: int,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        entry: Entry,
        heartbeat_timeout_s: float | None,
    ) -> None:
        if KEY not in kwargs and _takes_key(fn):
            kwargs = {**kwargs, KEY: f"{self._key}/{name}/{occurrence}"}
        token = in_step.set(f"{self._key}/{name}/{occurrence}")
        end_showing = showing_in(self.screen, self._handlers(), name, occurrence)
        try:
            if type(fn) is FunctionType and fn.__code__.co_flags & CO_COROUTINE:  # as nearly all are
                job = fn(*args, **kwargs)
            else:
                job = _called(fn, args, kwargs)
            value = await self.beats(name, occurrence).through(job, heartbeat_timeout_s)
        except Rejected as error:
            entry.rejected = failure_of(error, self._actor)
        else:
            try:
                entry.result = self._encoded(name, value)
            except BadResult as error:
                if not self.keeps_failures:
                    raise
                # It has run, and must not run again.
                entry.failed = Failure(error.code, str(error))
        finally:
            end_showing()
            in_step.reset(token)

    def _encoded(self, name: str, value: Any, *, own: bool = False) -> msgspec.Raw:
        try:
            encoded = encode_json(value)
        except (*UNENCODABLE, RecursionError) as error:
            raise BadResult(
                f"step {name!r}: its result, a {type(value).__name__}, has no JSON form: {error}"
            ) from error
        if nests_too_deep(encoded, MAX_KEPT_NESTING):
            raise BadResult(f"step {name!r}: its result nests deeper than {MAX_KEPT_NESTING} levels")
        if guard.knows and not own:  # what came from outside is in the log already
            guard.checked(encoded, f"the result of step {name!r}")
        return msgspec.Raw(encoded)

    def _value(self, entry: Entry, returns: Any) -> Any:
        if entry.rejected is not None:
            raise Rejected(entry.rejected.message, entry.rejected.details)
        try:
            return (json_decoder if returns.__hash__ is None else _decoder_for)(returns).decode(entry.result)
        except (*UNENCODABLE, NameError) as error:
            raise BadResult(f"step {entry.step!r}: its result is not of the type in returns=: {error}") from error


def check_step_name(name: object) -> None:
    """Raises BadResult for what cannot name a step of a handler's."""
    if not isinstance(name, str) or not _can_name(name):
        raise BadResult(f"a step's name is a text of 1 to {MAX_NAME_LENGTH} characters without NUL")
    if guard.knows:
        guard.checked(name.encode(), "a step's name")
    if name.startswith("$"):
        raise BadResult(f"step {name!r}: names that begin with '$' are the engine's own")


@lru_cache(maxsize=1024)
def _can_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME_LENGTH and "\0" not in name and is_text(name)


async def _called(fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A plain function may block: its own thread keeps it from holding up other handlers."""
    if inspect.iscoroutinefunction(fn):
        return await fn(*args, **kwargs)
    value = await asyncio.to_thread(fn, *args, **kwargs)
    return await value if inspect.isawaitable(value) else value


def _takes_key(fn: Callable[..., Any]) -> bool:
    if type(fn) is FunctionType and not fn.__dict__:  # a signature takes a hundred times longer
        code = fn.__code__
        return KEY in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    try:
        return KEY in inspect.signature(fn).parameters
    except (TypeError, ValueError):  # a function of C's without a signature
        return False
