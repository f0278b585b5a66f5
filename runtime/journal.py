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
from runtime.errors import BadResult, Cancelled, Rejected
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

CANCELLED = "$cancelled"
"""The entry that says where in its steps the handler was told of its cancellation."""

_in_step: ContextVar[bool] = ContextVar("_in_step", default=False)
_decoder_for = lru_cache(maxsize=1024)(json_decoder)


class Entry(msgspec.Struct, omit_defaults=True):
    """A completed step, as its event says: the result as JSON, or the refusal with which its function ended.

    `run` is the command's id, `occurrence` counts the steps of that name before it, `concurrent` says that it was not
    the handler's own task that took it, `took_ms` how long its function took.
    """

    run: str
    step: str
    occurrence: int
    attempt: int
    concurrent: bool = False
    result: msgspec.Raw = msgspec.Raw(b"null")
    rejected: Failure | None = None
    took_ms: int = 0


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
        mark = next((at for at, entry in enumerate(recorded) if entry.step == CANCELLED), len(recorded))
        # What other tasks had completed by then: it comes first again, and who undoes things knows of it.
        self._before = {(entry.step, entry.occurrence) for entry in recorded[:mark] if entry.concurrent}
        self._asked: Counter[str] = Counter()
        self._calls = 0
        self._left = set(self._entries)
        self._task: asyncio.Task[Any] | None = None
        self._others: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._failed: str | None = None
        self._diverged: StepsDiverged | None = None
        self._cancel: str | None = None
        self._thrown = self._marked = False
        self._keeping = 0
        self.begun = bool(recorded)
        """Whether a former attempt left anything. If not, one that is cancelled has nothing to undo, and is not run."""
        self.working = 0
        """Steps that run now, waiting not counted."""

    def recorded(self, *prefixes: str) -> list[Entry]:
        """The entries of former attempts whose names begin with one of `prefixes`."""
        return [entry for entry in self._entries.values() if entry.step.startswith(prefixes)]

    @property
    def own(self) -> asyncio.Task[Any] | None:
        """The handler's own task, once it runs."""
        return self._task

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

    def check_open(self) -> None:
        """Raises asyncio.CancelledError when the attempt has ended."""
        if self._closed:
            raise asyncio.CancelledError(f"{self._actor}: the handler has ended")

    def cancel(self, reason: str) -> None:
        """Tells the handler, by asyncio.CancelledError, once it has done again all that it did before.

        Steps that it takes after that are recorded as any others: it may undo what it did. Later calls do nothing.
        """
        if self._cancel is None:
            self._cancel = reason
            self._throw()

    def stop(self) -> None:
        """This attempt takes no step any more, asks nobody, and is told of no cancellation: another one begins anew."""
        self._closed = True

    def _throw(self) -> None:
        if self._cancel is None or self._thrown or self._closed or self._keeping or self._before or self._task is None:
            return
        if self._next < len(self._line):
            if self._line[self._next] != (CANCELLED, 0):
                return
            self._pass_mark()
        self._thrown = True
        self._task.cancel(self._cancel)

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"{self._actor}, run {self._run}, was cancelled: {self._cancel or 'no reason was given'}")

    def _pass_mark(self) -> None:
        self._next += 1
        self._left.discard((CANCELLED, 0))
        self._thrown = self._marked = True

    async def through(self, job: Awaitable[T]) -> T:
        """Runs the handler, in the task that is its own. Steps that still run when it ends are cancelled.

        Raises Cancelled when it was cancelled and ended by that.
        """
        self._task = asyncio.current_task()
        if self._cancel is not None and not self.begun:
            if inspect.iscoroutine(job):
                job.close()
            raise self._cancelled()
        if self._cancel is not None:
            asyncio.get_running_loop().call_soon(self._throw)
        try:
            result = await job
            if self._diverged is not None:  # the handler caught it
                raise self._diverged
            if self._left:
                name, occurrence = min(self._left)
                raise self._divergence(f"step {name!r} (occurrence {occurrence}) is recorded, and nobody asked for it")
            return result
        except asyncio.CancelledError:
            if not self._thrown:
                raise
            raise self._cancelled() from None
        finally:
            self._closed = True
            for task in self._others:
                task.cancel()

    async def step(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], returns: Any
    ) -> Any:
        """See Turn.step."""
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or "\0" in name or not is_text(name):
            raise BadResult(f"a step's name is a text of 1 to {MAX_NAME_LENGTH} characters without NUL")
        if name.startswith("$"):
            raise BadResult(f"step {name!r}: names that begin with '$' are the engine's own")

        async def run(occurrence: int, entry: Entry) -> None:
            await self._keeper.confirm()
            self.working += 1
            loop = asyncio.get_running_loop()
            began = loop.time()
            try:
                await self._run_step(name, occurrence, fn, args, kwargs, entry)
            finally:
                self.working -= 1
            entry.took_ms = round((loop.time() - began) * 1000)
            if entry.rejected is None:
                self._value(entry, returns)

        return self._value(await self._entry(name, run), returns)

    async def wait(self, name: str, fn: Callable[[], Awaitable[Any]]) -> bytes:
        """The result, as JSON, of the engine's own waiting, which does nothing outside; recorded as a step is."""

        async def run(_: int, entry: Entry) -> None:
            entry.result = self._encoded(name, await fn())

        return bytes((await self._entry(name, run)).result)

    async def say(self, name: str, result: Any, refusal: Failure | None) -> None:
        """Records what the commit of the entry also tells somebody else."""

        async def run(_: int, entry: Entry) -> None:
            entry.result, entry.rejected = self._encoded(name, result), refusal

        await self._entry(name, run)

    async def _entry(self, name: str, run: Callable[[int, Entry], Awaitable[None]]) -> Entry:
        """The entry of the next step of that name: the recorded one, or what `run` fills in, once it is committed."""
        task = asyncio.current_task()
        assert task is not None
        own = task is self._task
        self._check(name)
        occurrence = self._asked[name]
        self._asked[name] += 1
        self._calls += 1
        entry = self._recorded(name, occurrence, own)
        if entry is not None:
            return entry
        if not own:
            self._others.add(task)
        try:
            if self._thrown and not self._marked:
                self._marked = True
                await self._keep(Entry(self._run, CANCELLED, 0, self._attempt))
            entry = Entry(self._run, name, occurrence, self._attempt, not own)
            await run(occurrence, entry)
            await self._keep(entry)
        except BaseException as error:
            if isinstance(error, Exception) or (own and not self._thrown):
                self._failed = self._failed or name
            raise
        finally:
            self._others.discard(task)
        return entry

    async def _keep(self, entry: Entry) -> None:
        """Keeps an entry. Cancelling waits meanwhile: where it came must follow from what is recorded."""
        self._keeping += not entry.concurrent
        try:
            await self._keeper.keep(entry)
        finally:
            self._keeping -= not entry.concurrent
            if self._cancel is not None:
                asyncio.get_running_loop().call_soon(self._throw)

    def _check(self, name: str) -> None:
        self.check_open()
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
            if expected == (CANCELLED, 0):
                self._pass_mark()
                raise asyncio.CancelledError(self._cancel)
            if expected != place:
                recorded, times = expected
                self._diverged = self._divergence(
                    f"its next step was {recorded!r} (occurrence {times}), and now {name!r} (occurrence {occurrence}) "
                    "is asked for"
                )
                raise self._diverged
            self._next += 1
        self._left.discard(place)
        self._before.discard(place)
        if self._cancel is not None:
            asyncio.get_running_loop().call_soon(self._throw)
        return self._entries.get(place)

    def _divergence(self, what: str) -> StepsDiverged:
        return StepsDiverged(
            f"{self._actor}, run {self._run}: the handler left its journal: {what}. It must take the same steps again: "
            "deploy code that does and replay its dead letter, or drop it and send a command with a new id"
        )

    async def _run_step(
        self,
        name: str,
        occurrence: int,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        entry: Entry,
    ) -> None:
        if KEY not in kwargs and _takes_key(fn):
            kwargs = {**kwargs, KEY: f"{self._key}/{name}/{occurrence}"}
        token = _in_step.set(True)
        try:
            value = await _called(fn, args, kwargs)
        except Rejected as error:
            entry.rejected = failure_of(error, self._actor)
        else:
            entry.result = self._encoded(name, value)
        finally:
            _in_step.reset(token)

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
