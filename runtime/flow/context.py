"""What a workflow gets as `ctx`: everything it may wait for, and values that are the same in a replay."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

import msgspec

from runtime import cron, heartbeats
from runtime.ambient.handler import Ambient
from runtime.ambient.secrets import guard
from runtime.arguments import encode_json, json_decoder
from runtime.errors import BadResult, CallFailed, NotConnected
from runtime.flow.combining import Timeout, every, first, mapped
from runtime.flow.paced import PacedSteps
from runtime.flow.saga import ContinueAsNew, Saga
from runtime.human import Human
from runtime.policy import RetryPolicy
from runtime.sent import KINDS, Question, catalogue, method_and_payload
from runtime.tokens import Tokens
from runtime.turn import Turn
from schemas import control
from schemas.address import Address, actor_id, encode_token
from schemas.headers import travelling

if TYPE_CHECKING:
    from runtime.kind import Kind
    from runtime.mail import Mail, Request
    from runtime.sent import Asker
    from schemas.wire import Capability

T = TypeVar("T")
R = TypeVar("R")

ASK_AGAIN_S = 1.0
LONGEST_QUESTION_S = 3600.0
"""A question is asked anew, under its id, so often."""

RUN = "run"
CURRENT = "current"
"""The query that every workflow has: its run, and how that is."""

_MISSING: Any = object()

OnCancel = Literal["cancel", "abandon"]


class Workflow(Ambient):
    """The context of one run of a workflow. Whatever is awaited through it is in the log, and the same in a replay.

    See also runtime.ambient.handler: log, metrics, spans, secrets, configuration.

    Attributes:
        turn: the turn that the run is part of: address, principal, session, headers, attempt.
        generation: how often the run has continued as new.
    """

    def __init__(self, turn: Turn, steps: PacedSteps, mail: Mail, asker: Asker, generation: int) -> None:
        self.turn = turn
        self.generation = generation
        self._steps = steps
        self._mail = mail
        self._asker = asker
        self._named: str | None = None
        self._random: random.Random | None = None
        self._human: Human | None = None
        self._tokens: Tokens | None = None

    @property
    def _run(self) -> str:
        """What no other run has, and this one again in each attempt."""
        if self._named is None:
            tenant, kind, key = self.turn.address
            self._named = f"{actor_id(tenant, kind, encode_token(key))}/{self.turn.command_id}/{self.generation}"
        return self._named

    @property
    def address(self) -> Address:
        """Tenant, kind and key of this actor."""
        return self.turn.address

    @property
    def key(self) -> str:
        """This actor's key: the run's id."""
        return self.turn.address.key

    @property
    def attempt(self) -> int:
        """1 for the first try; only for logs: code that asks for it does otherwise in a replay."""
        return self.turn.attempt

    @property
    def method(self) -> str:
        """The method that was called."""
        return self.turn.method

    @property
    def headers(self) -> dict[str, str]:
        """The caller's headers that travel with all that follows: W3C's trace context and baggage, and `ctx-…`."""
        return travelling(self.turn.headers)

    @property
    def command_id(self) -> str:
        """The id of the command that started the run."""
        return self.turn.command_id

    @property
    def human(self) -> Human:
        """The people that a run asks: `await ctx.human.approval(…)`."""
        if self._human is None:
            self._human = Human(self, self.generation)
        return self._human

    # -- values that replay ---------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Unix seconds at which what the workflow got last came to be (at first, at which it was started)."""
        return self._steps.now

    @property
    def random(self) -> random.Random:
        """Random numbers that are the same in a replay."""
        if self._random is None:
            self._random = random.Random(self._run)
        return self._random

    def uuid(self) -> str:
        """A UUID (version 4 in form) that is the same in a replay."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def patched(self, id: str) -> bool:
        """Whether this run goes the new way: False for one that has passed here before the code asked this.

        The first answer holds for the whole run, and is recorded when it is True.
        """
        return self._steps.patched(id)

    def publish(self, name: str, value: Any) -> None:
        """Lets queries see a value (anything that has a JSON form) from now on, in the order of the log."""
        self._steps.publish(name, value)

    # -- waiting --------------------------------------------------------------------------------------------------

    def step(
        self,
        name: str | Callable[..., Any],
        /,
        *args: Any,
        returns: Any = Any,
        retry: RetryPolicy | None = None,
        timeout_s: float | None = None,
        heartbeat_timeout_s: float | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, Any]:
        """Runs `step("name", fn, *args)` or `step(fn, *args)` once, and gives its result, read as `returns`.

        `fn` is `async`, or a plain function, which runs in a thread; there everything is allowed. It is tried by
        `retry` (the workflow's `step_retry` by default), `timeout_s` seconds at a time, and no longer than
        `heartbeat_timeout_s` without a heartbeat (runtime.heartbeats), then the failure is recorded and StepFailed
        raised. A Rejected is recorded at once and raised. See Turn.step for what a crash may repeat.
        """
        if isinstance(name, str):
            fn, args = (args[0], args[1:]) if args else (None, args)
        else:
            name, fn = getattr(name, "__name__", type(name).__name__), name
        if not callable(fn):
            raise BadResult(f"step {name!r} needs a function: ctx.step(name, fn, ...), or ctx.step(fn, ...)")
        return self._steps.step(name, fn, args, kwargs, returns, heartbeat_timeout_s, retry, timeout_s)

    def external(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        returns: Any = Any,
        timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, Any]:
        """Takes a step that something outside completes: `fn(*args, token=…)` hands out a token, and whoever has it
        says what came of it, by HTTP, NATS, the command line or a client (`Client.complete`, `Client.fail`).

        Gives the value, read as `returns`. Raises StepFailed when it was failed, TimeoutError when nobody said anything
        within `timeout_s` seconds. The token is the same on every attempt, and is used once. `retry` is of `fn`.
        """
        if self._tokens is None:
            self._tokens = Tokens(self.address, self.command_id, self.turn.secret, self.generation)
        step = partial(self.step, retry=retry)
        return self._tokens.external(step, self._mail, name, fn, args, kwargs, returns, timeout_s)

    def heartbeat(self, detail: Any = None) -> None:
        """Says, within a step, that it goes on; see runtime.heartbeats."""
        heartbeats.heartbeat(detail)

    def heartbeat_detail(self, type: Any = Any) -> Any:
        """Within a step, what its attempt before this one said last, read as `type`; None when that was nothing."""
        return heartbeats.heartbeat_detail(type)

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Waits, for months if need be: a run that only waits costs no memory."""
        return self._mail.sleep(seconds)

    async def timer(
        self, *, delay_s: float | None = None, at: float | None = None, cron: str = "", timezone: str = "UTC"
    ) -> float:
        """Waits `delay_s` seconds, until the Unix time `at`, or until a cron expression is due; gives the time then.

        `timezone` is an IANA name, for the cron expression. Raises BadResult for one that is never due.
        """
        if [delay_s is not None, at is not None, bool(cron)].count(True) != 1:
            raise BadResult("ctx.timer takes one of delay_s, at and cron")
        if cron:
            at = _due(cron, timezone, self.now)
        await self._mail.sleep(delay_s if delay_s is not None else max((at or 0.0) - self.now, 0.0))
        return self.now

    def timeout(self, seconds: float) -> Timeout:
        """`async with ctx.timeout(60):` cancels what is within after so many seconds, and raises TimeoutError."""
        return Timeout(lambda: self._mail.sleep(seconds))

    async def signal(
        self, name: str, *, returns: Any = Any, timeout_s: float | None = None, default: Any = _MISSING
    ) -> Any:
        """Waits for the next signal of that name; see Turn.signal. With `default`, a time-out gives that instead."""
        try:
            return await self._mail.signal(name, returns, timeout_s)
        except TimeoutError:
            if default is _MISSING:
                raise
            return default

    def update(
        self, name: str, *, returns: Any = Any, timeout_s: float | None = None
    ) -> Coroutine[Any, Any, Request]:
        """Waits for the next update of that name, whose sender waits for `answer` or `reject`; see Turn.update."""
        return self._mail.update(name, returns, timeout_s)

    # -- others ---------------------------------------------------------------------------------------------------

    async def ask(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        type: Any = Any,
        timeout_s: float | None = None,
    ) -> Any:
        """Sends a command to another actor, and waits for its result, read as `type`, for as long as it takes.

        Raises Rejected when the actor refuses, CallFailed when it fails, or when `timeout_s` seconds are over
        (`timeout`; it may still be processed). What came of it is recorded either way.
        """
        name, method, payload = method_and_payload(kind, command, args)
        address = Address(self.address.tenant, name, key)
        body = b"" if payload is None else guard.checked(encode_json(payload), f"a question to {name}.{method}")
        due = None if timeout_s is None else self.now + timeout_s
        question = self._question()
        asked = (key, msgspec.Raw(body or b"null"))
        asking = partial(self._asking, question, address, method, body, due)
        return await self._answer(f"{name}.{method}", asked, asking, type)

    async def look(
        self, kind: Kind | str, key: str, query: str, args: Any = None, *, type: Any = Any, timeout_s: float = 30.0
    ) -> Any:
        """Within a step: what a query of another actor of this tenant answers now, read as `type`.

        Nothing of it is recorded: what follows from it is the step's result. Raises BadResult outside of a step, where
        a replay could be answered otherwise (`ask` records its answers); Rejected and CallFailed as `ask`.
        """
        if self.step_id is None:
            raise BadResult("ctx.look is for steps: outside of one, ask (ctx.ask), whose answer is recorded")
        name, method, payload = method_and_payload(kind, query, args)
        address = Address(self.address.tenant, name, key)
        body = b"" if payload is None else guard.checked(encode_json(payload), f"a question to {name}.{method}")
        answer = await self._asker(Question(address, method, body, "", timeout_s, reads=True))
        return json_decoder(type).decode(answer)

    async def kinds(self, *, timeout_s: float = 30.0) -> tuple[Capability, ...]:
        """Within a step: which kinds there are now, as pods have registered them. As with `look`, nothing is recorded.

        The same tuple is given while nothing has changed. Raises BadResult outside of a step; CallFailed (unavailable).
        """
        if self.step_id is None:
            raise BadResult("ctx.kinds is for steps: outside of one, a replay could be told of other kinds")
        return catalogue(await self._asker(Question(self.address, KINDS, b"", "", timeout_s, reads=True)))

    async def task(
        self, function: Kind | str, args: Any = None, *, key: str | None = None, returns: Any = Any,
        timeout_s: float | None = None,
    ) -> Any:  # fmt: skip
        """Calls a function as a child: a command of its own, retried by its own policy. See `ask`.

        `key` groups calls in the log; by default each has its own.
        """
        own = f"{self.key}.{self._steps.taken + 1}" if key is None else key
        return await self.ask(function, own, RUN, args, type=returns, timeout_s=timeout_s)

    async def child(
        self, workflow: Kind | str, run_id: str, args: Any = None, *, returns: Any = Any,
        on_cancel: OnCancel = "cancel", timeout_s: float | None = None,
    ) -> Any:  # fmt: skip
        """Runs another workflow under the id `run_id`, and gives its result. See `ask`.

        When this wait is cancelled (with the whole run, by a time-out, by losing a race) the child is told to cancel
        too, and undoes what it did; `on_cancel="abandon"` leaves it alone.
        """
        name = workflow if isinstance(workflow, str) else workflow.name
        id = self._question()
        try:
            return await self.ask(workflow, run_id, RUN, args, type=returns, timeout_s=timeout_s)
        except asyncio.CancelledError:
            if on_cancel == "cancel":
                body = control.Cancel(id, f"its parent {self.address.kind}/{self.key} was cancelled")
                await self._say(name, run_id, control.CANCEL, body)
            raise

    async def emit(self, kind: Kind | str, key: str, name: str, value: Any = None, *, run: str | None = None) -> bool:
        """Sends a signal to another run, and gives whether it was there to take it.

        To a workflow's current run, or with `run` to the execution of the command with that id.
        """
        kind_name = kind if isinstance(kind, str) else kind.name
        if run is None:
            run = (await self.ask(kind_name, key, CURRENT))["run"]
        return bool(run) and await self._say(kind_name, key, control.SIGNAL, control.Signal(run, name, value))

    async def _say(self, kind: str, key: str, method: str, body: Any) -> bool:
        address = Address(self.address.tenant, kind, key)
        encoded = guard.checked(encode_json(body), f"a message to {kind}")
        question = self._question()
        try:
            await self._answer(
                f"{kind}.{method}",
                (key, msgspec.Raw(encoded)),
                lambda: self._asking(question, address, method, encoded, None),
                Any,
            )
        except CallFailed as error:
            if error.code != "not_running":
                raise
            return False
        return True

    def _question(self) -> str:
        """The id of what is asked next."""
        id = blake2b(f"{self._run}/{self._steps.taken + 1}".encode(), digest_size=16).hexdigest()
        self._mail.asks(id)
        return id

    async def _answer(self, name: str, asked: Any, fn: Callable[[], Awaitable[bytes]], type: Any) -> Any:
        answer = await self._steps.ask(name, asked, fn)
        try:
            return json_decoder(type).decode(answer)
        except ValueError as error:  # msgspec's and pydantic's errors are ValueErrors
            raise CallFailed("bad_result", f"the answer is not of the type that was asked for: {error}") from error

    async def _asking(self, id: str, address: Address, method: str, body: bytes, due: float | None) -> bytes:
        """Asks until there is an answer: the broker may be away, and an answer may take its time."""
        while True:
            left_s = LONGEST_QUESTION_S if due is None else max(due - self._mail.now(), 0.0)
            question = Question(address, method, body, id, min(left_s, LONGEST_QUESTION_S))
            try:
                return await self._asker(question)
            except NotConnected:
                if self._over(due):
                    raise CallFailed("timeout", f"{address}.{method} could not be asked in time") from None
            except CallFailed as error:
                if error.code not in ("timeout", "unavailable") or self._over(due) or self._mail.alone:
                    raise
            await asyncio.sleep(ASK_AGAIN_S)

    def _over(self, due: float | None) -> bool:
        return due is not None and due <= self._mail.now()

    # -- several at once ------------------------------------------------------------------------------------------

    def spawn(self, job: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begins something beside the rest: a handle to await, to cancel, and to ask for its result.

        What is not done when the workflow ends is cancelled.
        """
        return asyncio.create_task(job)

    async def parallel(self, jobs: Iterable[Awaitable[T]]) -> list[T]:
        """The results of all, in order. The first failure cancels the others, which are waited for, and is raised."""
        return await every(jobs)

    async def gather(self, **jobs: Awaitable[Any]) -> dict[str, Any]:
        """The results of all, by name; see `parallel`."""
        return dict(zip(jobs, await every(jobs.values()), strict=True))

    @overload
    async def map(self, fn: Callable[[T], Awaitable[R]], items: Iterable[T], *, limit: int = 100) -> list[R]: ...
    @overload
    async def map(self, fn: Kind, items: Iterable[Any], *, limit: int = 100) -> list[Any]: ...
    async def map(self, fn: Any, items: Iterable[Any], *, limit: int = 100) -> list[Any]:
        """`fn` of each item, at most `limit` at a time; the results in the order of the items.

        `fn` is an async function, or a function kind, which is called as `task`.
        """
        if hasattr(fn, "method_for"):  # a kind; a function is callable as well
            return await mapped(lambda item: self.task(fn, item), items, limit)
        return await mapped(fn, items, limit)

    async def race(self, *jobs: Awaitable[Any]) -> Any:
        """The result of what ends first (or its failure); the others are cancelled, and waited for."""
        return (await first(jobs))[1]

    async def select(self, **jobs: Awaitable[Any]) -> tuple[str, Any]:
        """(name, result) of what ends first; see `race`."""
        at, result = await first(list(jobs.values()))
        return list(jobs)[at], result

    def saga(self) -> Saga:
        """`async with ctx.saga() as saga:` undoes, last first, what `saga.undo(...)` was told, when it cannot go on."""
        return Saga(self.step)

    def continue_as_new(self, args: Any = None) -> NoReturn:
        """Ends the code, and goes on as the same run with a new journal: `args` are those of the run's beginning.

        Whoever waits for the run goes on waiting. Signals that were not taken, and what was published, are kept.
        """
        raise ContinueAsNew(args)


def _due(expression: str, timezone: str, now: float) -> float:
    try:
        due = cron.after(cron.check_cron(expression, timezone), timezone, now)
    except cron.BadCalendar as error:
        raise BadResult(f"ctx.timer(cron={expression!r}): {error}") from error
    if due is None:
        raise BadResult(f"ctx.timer(cron={expression!r}) is never due")
    return due
