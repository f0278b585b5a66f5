"""Functions: stateless work that is accepted first, then run, and retried by policy until it is done or parked.

    @function
    async def charge(ctx: Turn, order: Order) -> Receipt: ...

It has no state, so nothing of it is folded; what it asks of `ctx` takes effect once it is done. What a generator yields
is committed while it goes on, see runtime.yields.
"""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing, closing
from math import inf
from typing import Any, overload

import msgspec

from runtime.arguments import Arguments, Result, hints_of
from runtime.errors import BadDefinition
from runtime.kind import Behaviour, Decided, Execution, Kind, StoredEvent
from runtime.limits import KEY as LIMITER_KEY
from runtime.limits import PERMIT, Limits, limiter_of
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from runtime.yields import Yields
from schemas.headers import PRIORITY
from schemas.wire import Method as MethodInfo

RUN = "run"
"""The one method of a function."""

ASKING_S = 86_400.0
"""How long a run waits to hear from the actor that hands out permits, which is away for some time at most."""


class Function(Kind):
    """A stateless kind; still callable as the plain function it was made from. Made by `@function`."""

    type = "function"
    called_once = True
    fold_version = "function-1"

    def __init__(
        self,
        name: str,
        handler: Callable[..., Any],
        retry: RetryPolicy,
        timeout_s: float | None,
        debounce_s: float = 0.0,
        limits: Limits | None = None,
        heartbeat_timeout_s: float | None = None,
    ) -> None:
        super().__init__(name, Behaviour(retry, "continue"))
        if not 0 <= debounce_s < float("inf"):
            raise BadDefinition(f"function {name!r}: debounce_s is a number of seconds of at least 0")
        method = self._methods[RUN] = _run_of(handler, timeout_s, heartbeat_timeout_s)
        method.debounce_s = debounce_s
        if limits is not None and limits == Limits(per_key=1, backlog=limits.backlog):
            method.exclusive = True  # what holds a key is known without anybody's permit
        elif limits is not None:
            limiter = limiter_of(name, limits)
            self.companions = (limiter,)
            method.limiter = limiter.name
        self.handler = handler
        self.description = (handler.__doc__ or "").strip()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.handler(*args, **kwargs)

    def initial(self) -> None:
        return None

    def fold(self, state: Any, events: Sequence[StoredEvent]) -> Any:
        return state

    def encode_state(self, state: Any) -> bytes:
        return b"null"

    def decode_state(self, snapshot: bytes) -> Any:
        return None

    def method_for(self, command: Any) -> str:
        return RUN


class _Run(Execution):
    # Two calls of one key may run side by side: there is no state that one could spoil for the other.
    exclusive = False

    def __init__(self, handler: Callable[..., Any], timeout_s: float | None, heartbeat_timeout_s: float | None) -> None:
        hints = hints_of(handler)
        parameters = list(inspect.signature(handler).parameters.values())
        self._takes_context = bool(parameters) and parameters[0].name == "ctx"
        rest = parameters[1:] if self._takes_context else parameters
        returns = Result(handler, self._result_annotation(hints.get("return", Any)))
        super().__init__(RUN, handler, Arguments(handler, rest, hints), returns)
        self._is_async = inspect.iscoroutinefunction(handler)
        self.timeout_s = timeout_s
        self.heartbeat_timeout_s = heartbeat_timeout_s

    def _result_annotation(self, annotation: Any) -> Any:
        return annotation

    def _arguments(self, payload: Any, turn: Turn) -> tuple[Any, ...]:
        arguments = self.arguments.spread(payload)
        return (turn, *arguments) if self._takes_context else arguments

    def _timeout_s(self, turn: Turn) -> float | None:
        if turn.expires_at == inf:
            return self.timeout_s
        left_s = max(turn.expires_at - turn.time(), 0.0)
        return left_s if self.timeout_s is None else min(self.timeout_s, left_s)

    async def _permit(self, turn: Turn) -> None:
        """Returns once the limits let this run begin. One that starts anew has its permit still."""
        if self.limiter is None or not turn.gated:
            return
        priority = int(turn.headers.get(PRIORITY, 0))
        asked = {"key": turn.key, "run": turn.command_id, "priority": priority}
        if not await turn.ask(self.limiter, LIMITER_KEY, "acquire", asked, type=bool, timeout_s=ASKING_S):
            await turn.signal(PERMIT)
            # What cancelled it while it waited is thrown in the loop's next turn: the function must not begin before.
            await asyncio.sleep(0)

    async def _called(self, arguments: Sequence[Any]) -> Any:
        if self._is_async:
            return await self.handler(*arguments)
        # A plain function may block: its own thread keeps it from holding up anybody else.
        return await asyncio.to_thread(self.handler, *arguments)

    async def run(self, state: Any, payload: Any, turn: Turn) -> Decided:
        await self._permit(turn)
        arguments = self._arguments(payload, turn)
        async with asyncio.timeout(self._timeout_s(turn)):
            value = await turn.beating(self._called(arguments), self.heartbeat_timeout_s)
        return Decided([], None, self.result.encode(value))


class _Generate(_Run):
    """The run of a generator: its values are committed as it goes on, and its result is how many there were."""

    def __init__(self, handler: Callable[..., Any], timeout_s: float | None, heartbeat_timeout_s: float | None) -> None:
        super().__init__(handler, timeout_s, heartbeat_timeout_s)
        self._is_async = inspect.isasyncgenfunction(handler)
        yielded = typing.get_args(hints_of(handler).get("return", Any))
        self._value = Result(handler, yielded[0] if yielded else Any)

    def _result_annotation(self, annotation: Any) -> Any:
        if annotation is not Any and typing.get_origin(annotation) not in _GENERATORS:
            raise BadDefinition(
                f"a generator is said to return {annotation}: annotate it with AsyncIterator[…] or Iterator[…] of what "
                "it yields"
            )
        return int

    def describe(self) -> MethodInfo:
        """See Method.describe."""
        return msgspec.structs.replace(super().describe(), yields=self._value.schema())

    async def run(self, state: Any, payload: Any, turn: Turn) -> Decided:
        await self._permit(turn)
        arguments, out = self._arguments(payload, turn), turn.yields
        try:
            async with asyncio.timeout(self._timeout_s(turn)):
                await turn.beating(self._generated(arguments, out), self.heartbeat_timeout_s)
        except Exception:
            out.end()
            await out.flush()  # what it had yielded before it failed is not yielded again
            raise
        return Decided([], None, self.result.encode(await out.flush()))

    async def _generated(self, arguments: Sequence[Any], out: Yields) -> None:
        if self._is_async:
            await self._generate(self.handler(*arguments), out)
        else:
            await asyncio.to_thread(self._generate_in_thread, arguments, out, asyncio.get_running_loop())

    async def _generate(self, values: AsyncGenerator[Any, Any], out: Yields) -> None:
        async with aclosing(values):
            following: Awaitable[Any] = anext(values)
            while True:
                try:
                    value = await following
                except StopAsyncIteration:
                    return
                try:
                    await out.put(self._value.encode(value))
                except BaseException as error:  # noqa: BLE001  # it hears what happens to it where it stands
                    following = values.athrow(error)
                else:
                    following = anext(values)

    def _generate_in_thread(self, arguments: Sequence[Any], out: Yields, loop: asyncio.AbstractEventLoop) -> None:
        with closing(self.handler(*arguments)) as values:
            for value in values:
                asyncio.run_coroutine_threadsafe(out.put(self._value.encode(value)), loop).result()


_GENERATORS = (AsyncIterator, AsyncIterable, AsyncGenerator, Iterator, Iterable, Generator)


def _run_of(handler: Callable[..., Any], timeout_s: float | None, heartbeat_timeout_s: float | None) -> _Run:
    generates = inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler)
    return (_Generate if generates else _Run)(handler, timeout_s, heartbeat_timeout_s)


@overload
def function(handler: Callable[..., Any]) -> Function: ...
@overload
def function(
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    timeout_s: float | None = 60.0,
    debounce_s: float = 0.0,
    limits: Limits | None = None,
    heartbeat_timeout_s: float | None = None,
) -> Callable[[Callable[..., Any]], Function]: ...
def function(
    handler: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    timeout_s: float | None = 60.0,
    debounce_s: float = 0.0,
    limits: Limits | None = None,
    heartbeat_timeout_s: float | None = None,
) -> Any:
    """Defines a function: `(…)` or `(ctx, …)`, plain or `async`; or a generator, whose callers get what it yields.

    Args:
        name: the kind under which it is called; the function's own name by default.
        retry: what happens when it raises; three attempts by default.
        timeout_s: seconds per attempt, or None for no limit; for all attempts see RetryPolicy.max_elapsed_s.
        debounce_s: seconds for which no other call of a key may come before one runs; of several, the last one does.
            A call's result is then `{"run", "start_at"}` at once: the id of the run that it becomes if no other comes.
        limits: how many runs go on at a time, and begin in a while, over all pods; see Limits.
        heartbeat_timeout_s: seconds after which an attempt that says no heartbeat has failed; see runtime.heartbeats.
    """

    def define(given: Callable[..., Any]) -> Function:
        return Function(
            name or given.__name__, given, retry or RetryPolicy(), timeout_s, debounce_s, limits, heartbeat_timeout_s
        )

    return define if handler is None else define(handler)
