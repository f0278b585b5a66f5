"""What is said to a running execution, and its waiting for it: answers, signals, updates, and time.

    await ctx.sleep(3600)
    approved = await ctx.signal("approved", returns=bool, timeout_s=60)

Each message is an event of the engine's own on the actor, committed under its fence before the handler hears of it.
What the handler took is recorded as a step is: an execution that starts anew gets the same again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, Final

import msgspec

from runtime.activity import outside
from runtime.arguments import json_decoder
from runtime.errors import BadResult, CallFailed, StepFailed
from runtime.recorder import Entry, Recorder
from schemas import control
from schemas.wire import Failure

SIGNAL: Final = "signal"
UPDATE: Final = "update"
CANCEL: Final = "cancel"
ANSWER: Final = "answer"
"""The names of the system events."""

ANSWERED: Final = "$answered "
"""Begins the name of the step that answers an update; its id follows."""

LONGEST_NAP_S = 30.0
"""A wall clock may be set: the time to wait is counted anew so often."""


MOST_UNTAKEN = 10_000
MOST_UNTAKEN_BYTES = 64 * 1024**2
"""Messages that a run holds without having taken them; no more is said to it then."""


class Message(msgspec.Struct, omit_defaults=True):
    """One message, as its event says. `run` is whom it is for, `id` the command that said it.

    Of an answer `id` is the question's, and `digest` is of what was asked.
    """

    run: str
    id: str
    name: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")
    error: Failure | None = None
    digest: int = 0


class Said(msgspec.Struct):
    """A message with its place: the sequence number and the name of its event."""

    seq: int
    what: str
    message: Message


_decode_message = msgspec.json.Decoder(Message).decode


def said_of(rows: Sequence[tuple[int, str, str]]) -> list[Said]:
    """The messages of stored events (seq, name, payload), in order."""
    return [Said(seq, what, _decode_message(payload)) for seq, what, payload in rows]


class Taken(msgspec.Struct, omit_defaults=True):
    """What a wait came to, as its step records it: the message at `seq`, or with 0 that its time was over."""

    seq: int = 0
    id: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")
    error: Failure | None = None


_decode_taken = msgspec.json.Decoder(Taken).decode


class Request:
    """An update that waits for the handler's answer. `value` is what came with it."""

    def __init__(self, value: Any, answer: Callable[[Any, Failure | None], Awaitable[None]]) -> None:
        self.value = value
        self._answer = answer

    async def answer(self, result: Any = None) -> None:
        """Gives the update its result, any value that has a JSON form; returns once that is committed."""
        await self._answer(result, None)

    async def reject(self, reason: str) -> None:
        """Refuses the update."""
        await self._answer(None, Failure("rejected", reason))


Pause = Callable[[float], Awaitable[None]]


class Mail:
    """The messages for one attempt at a run, for the handler's event loop; only `post` may be called from elsewhere.

    Args:
        steps: the attempt's steps.
        now: Unix seconds.
        pause: waits so many seconds.
        alone: nothing comes while it waits, since it runs in a World.

    Attributes:
        alone: as given.
        posted, heard: how many messages there were, and how many the attempt has heard of.
        waiting: the tasks that wait here, each with the time until which (Unix seconds; inf for no time).
        own_waits: how often the handler's own task has begun to wait.
        since: the last message that was heard before the run continued as new.
    """

    def __init__(
        self, steps: Recorder, now: Callable[[], float], pause: Pause = asyncio.sleep, *, alone: bool = False
    ) -> None:
        self._steps = steps
        self.now = now
        self._pause = pause
        self.alone = alone
        self._posted: deque[Said] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_seq = 0
        self._kept: dict[tuple[str, str], deque[Said]] = defaultdict(deque)
        self._answers: dict[str, Message] = {}
        self._asked: set[str] = set()
        self._unasked: dict[str, int] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._taken = set[int]()
        if steps.journal:
            self._taken = {_decode_taken(entry.result).seq for entry in steps.recorded("$signal ", "$update ")}
        self._delivered: set[int] = set()
        self._given_back: dict[int, tuple[str, Taken]] = {}
        self._returning: defaultdict[str, set[int]] = defaultdict(set)
        steps.left_over = self._give_back
        self._untaken = self._untaken_bytes = 0
        self._unanswered = 0
        self.posted = self.heard = 0
        self.waiting: dict[asyncio.Task[Any], float] = {}
        self.own_waits = 0
        self.since = 0

    # -- what comes in --------------------------------------------------------------------------------------------

    def post(self, said: Said) -> None:
        """Takes a message, from any thread, in the order of the log; one that was taken before is ignored."""
        self.posted += 1
        self._posted.append(said)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._sort)

    def open(self) -> None:
        """To be called in the handler's event loop before the handler runs."""
        self._loop = asyncio.get_running_loop()
        self._sort()

    @property
    def full(self) -> bool:
        """Whether it holds as much that its handler has not taken as one may. From any thread."""
        return self._untaken + len(self._posted) >= MOST_UNTAKEN or self._untaken_bytes >= MOST_UNTAKEN_BYTES

    @property
    def idle(self) -> bool:
        """Whether the handler itself does nothing but wait: stopping it here costs nothing."""
        return self._steps.only_waits(self.waiting) and not self._steps.working

    def waits_until(self) -> float | None:
        """Until when the handler's own task waits (Unix seconds; inf for no time); None while it does anything else.

        To ask counts as doing something, also after it was given up: the answer may still come, and an attempt that
        starts anew would have it.
        """
        if self._unanswered and not self._steps.answers_are_entries:
            return None
        return self.rests_until()

    def rests_until(self) -> float | None:
        """The same, also while an answer is waited for."""
        if not self._steps.only_waits(self.waiting) or self._steps.to_be_told or self._posted:
            return None
        if any(waiter.done() for waiter in self._waiters):
            return None
        return min(self.waiting.values(), default=None)

    def _sort(self) -> None:
        while self._posted:
            said = self._posted.popleft()
            self.heard += 1
            if said.seq <= self._last_seq:
                continue
            self._last_seq = said.seq
            if said.what == CANCEL:
                self._steps.cancel(said.message.name)
            elif said.what == ANSWER:
                self._answered(said)
            elif said.seq not in self._taken:
                self._kept[said.what, said.message.name].append(said)
                self._untaken += 1
                self._untaken_bytes += len(memoryview(said.message.value))
        self._wake()

    def _answered(self, said: Said) -> None:
        id = said.message.id
        if self._answers.setdefault(id, said.message) is said.message and said.seq > self.since:
            if id in self._asked:
                self._asked.discard(id)
            else:
                self._unasked[id] = said.seq

    def asks(self, id: str) -> None:
        """A question of this id is asked, or was by a former attempt."""
        if self._unasked.pop(id, None) is None and id not in self._answers:
            self._asked.add(id)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- waiting --------------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """See Turn.sleep."""
        due = await self._due("$sleep", seconds)
        await self._steps.pass_time("$sleep", seconds, lambda: self._until(due))

    async def signal(self, name: str, returns: Any, timeout_s: float | None) -> Any:
        """See Turn.signal."""
        return self._read(await self._take(SIGNAL, name, timeout_s), name, returns)

    async def completion(self, name: str, step: str, returns: Any, timeout_s: float | None) -> Any:
        """What came under the token that a step handed out: a signal `name`. Raises StepFailed and TimeoutError."""
        try:
            taken = await self._take(SIGNAL, name, timeout_s)
        except TimeoutError:
            raise TimeoutError(f"nobody completed step {step!r} within {timeout_s:g} s") from None
        if taken.error is not None:
            raise StepFailed(f"step {step!r} failed: {taken.error.message}")
        return self._read(taken, step, returns)

    async def update(self, name: str, returns: Any, timeout_s: float | None) -> Request:
        """See Turn.update."""
        taken = await self._take(UPDATE, name, timeout_s)

        async def answer(result: Any, failure: Failure | None) -> None:
            await self._steps.say(f"{ANSWERED}{taken.id}", result, failure)

        return Request(self._read(taken, name, returns), answer)

    async def answer(self, id: str, digest: int, sent: asyncio.Future[Any], timeout_s: float) -> Message:
        """The answer to a question that `sent` sends. Raises CallFailed, and what `sent` raises."""
        due = self.now() + timeout_s
        self._unanswered += 1
        # A run that was suspended before its question has left would ask again hours later: the broker may be away.
        with self._waiting(due if sent.done() else self.now()) as task:
            while (message := self._answers.get(id)) is None:
                remaining = due - self.now()
                if remaining <= 0:
                    text = f"question {id!r} was not answered in time; it may still be: ask again in a later attempt"
                    raise CallFailed("timeout", text, details={"id": id})
                await self._news(min(remaining, LONGEST_NAP_S), sent)
                if sent.done():
                    self.waiting[task] = due
                if sent.done() and not sent.cancelled() and (error := sent.exception()) is not None:
                    raise error
        self._unanswered -= 1
        if message.error is None and message.digest != digest:
            raise CallFailed("id_reused", f"question {id!r} was asked before with other arguments: ask the same again")
        return message

    def untaken(self) -> tuple[int, list[int]]:
        """(the last event that was heard, the messages up to it that the handler has not got).

        Also those that a wait has taken without having handed them over, and answers to what nobody has asked: in a log
        that was restored they may come before the run has continued as new, which then asks for them.
        """
        kept = [said.seq for waiting in self._kept.values() for said in waiting]
        kept += self._unasked.values()
        return self._last_seq, sorted([*kept, *(self._taken - self._delivered - {0})])

    def has_answer(self, id: str) -> bool:
        """Whether the answer to a question is there already. Raises CancelledError when the attempt has ended."""
        self._steps.check_open()
        return id in self._answers

    async def _take(self, what: str, name: str, timeout_s: float | None) -> Taken:
        if not isinstance(name, str) or not 0 < len(name) <= control.MAX_NAME_LENGTH:
            raise BadResult(f"the name of a {what} is a text of 1 to {control.MAX_NAME_LENGTH} characters")
        due = None if timeout_s is None else await self._due(f"$until {name}", timeout_s)
        step, got = f"${what} {name}", Taken()

        async def next_one() -> Taken:
            nonlocal got
            got = await self._next(what, name, due)
            return got

        try:
            taken = _decode_taken(await self._steps.wait(step, next_one, timeout_s))
        except asyncio.CancelledError:
            # Its entry is on its way: once that is there, the message is given back, and the next wait has it first.
            if got.seq and self._steps.answers_are_entries and got.seq not in self._given_back:
                self._returning[step].add(got.seq)
            raise
        self._given_back.pop(taken.seq, None)
        self._delivered.add(taken.seq)
        if taken.seq == 0:
            raise TimeoutError(f"no {what} {name!r} came within {timeout_s:g} s")
        return taken

    async def _next(self, what: str, name: str, due: float | None) -> Taken:
        with self._waiting(inf if due is None else due):
            while True:
                if (given_back := self._again(f"${what} {name}")) is not None:
                    return given_back
                kept = self._kept[what, name]
                if kept and not self._returning.get(f"${what} {name}"):
                    said = kept.popleft()
                    self._untaken -= 1
                    self._untaken_bytes -= len(memoryview(said.message.value))
                    self._taken.add(said.seq)
                    return Taken(said.seq, said.message.id, said.message.value, said.message.error)
                if due is not None and due <= self.now():
                    return Taken()
                if due is None and self.alone and not self._steps.answers_are_entries:
                    raise BadResult(f"no {what} {name!r} is there, and none can come meanwhile: say it before, or wait")
                await self._news(LONGEST_NAP_S if due is None else min(due - self.now(), LONGEST_NAP_S))

    def _give_back(self, entry: Entry) -> None:
        """Keeps a message that was taken for a wait which had been given up by then: it is there for the next one."""
        if entry.step.startswith((f"${SIGNAL} ", f"${UPDATE} ")) and (taken := _decode_taken(entry.result)).seq:
            self._returning[entry.step].discard(taken.seq)
            self._given_back[taken.seq] = entry.step, taken
            self._wake()

    def _again(self, step: str) -> Taken | None:
        seq = next((seq for seq, (name, _) in self._given_back.items() if name == step), None)
        return None if seq is None else self._given_back.pop(seq)[1]

    async def _due(self, name: str, seconds: float) -> float:
        if not 0 <= seconds < float("inf"):
            raise BadResult(f"a time to wait is a number of seconds of at least 0, not {seconds!r}")
        return await self._steps.due(name, seconds, self.now)

    async def _until(self, due: float) -> None:
        with self._waiting(due):
            while (remaining := due - self.now()) > 0:
                await self._nap(min(remaining, LONGEST_NAP_S))

    def _nap(self, seconds: float) -> asyncio.Task[None]:
        """Time that passes. It is no task of the handler's."""

        async def nap() -> None:
            await self._pause(seconds)

        return asyncio.get_running_loop().create_task(nap(), context=outside())

    async def _news(self, at_most_s: float, *others: asyncio.Future[Any]) -> None:
        """Returns when a message came, when one of `others` is done, or after a time."""
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(arrived)
        nap = self._nap(at_most_s)
        try:
            waited = {arrived, nap, *[other for other in others if not other.done()]}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            self._waiters.discard(arrived)

    @contextmanager
    def _waiting(self, until: float) -> Iterator[asyncio.Task[Any]]:
        task = asyncio.current_task()
        assert task is not None
        self.own_waits += task is self._steps.own
        self.waiting[task] = until
        try:
            yield task
        finally:
            del self.waiting[task]

    @staticmethod
    def _read(taken: Taken, name: str, returns: Any) -> Any:
        try:
            return json_decoder(returns).decode(taken.value)
        except ValueError as error:  # msgspec's and pydantic's errors are ValueErrors
            raise BadResult(f"what came as {name!r} is not of the type in returns=: {error}") from error
