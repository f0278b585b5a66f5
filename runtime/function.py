"""Functions: stateless work that is accepted first, then run, and retried by policy until it is done or parked.

    @function
    async def charge(ctx: Turn, order: Order) -> Receipt: ...

It has no state, so nothing of it is folded; what it asks of `ctx` takes effect once it is done.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, overload

from runtime.arguments import Arguments, Result, hints_of, name_of
from runtime.errors import BadDefinition
from runtime.kind import Behaviour, Decided, Execution, Kind, StoredEvent
from runtime.policy import RetryPolicy
from runtime.turn import Turn

RUN = "run"
"""The one method of a function."""


class Function(Kind):
    """A stateless kind; still callable as the plain function it was made from. Made by `@function`."""

    type = "function"
    fold_version = "function-1"

    def __init__(self, name: str, handler: Callable[..., Any], retry: RetryPolicy, timeout_s: float | None) -> None:
        super().__init__(name, Behaviour(retry, "continue"))
        self._methods[RUN] = _Run(handler, timeout_s)
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

    def __init__(self, handler: Callable[..., Any], timeout_s: float | None) -> None:
        hints = hints_of(handler)
        parameters = list(inspect.signature(handler).parameters.values())
        self._takes_context = bool(parameters) and parameters[0].name == "ctx"
        rest = parameters[1:] if self._takes_context else parameters
        super().__init__(RUN, handler, Arguments(handler, rest, hints), Result(handler, hints.get("return", Any)))
        self._is_async = inspect.iscoroutinefunction(handler)
        if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            raise BadDefinition(f"{name_of(handler)} is a generator: return the values as a list")
        self.timeout_s = timeout_s

    async def run(self, state: Any, payload: Any, turn: Turn) -> Decided:
        arguments = self.arguments.spread(payload)
        if self._takes_context:
            arguments = (turn, *arguments)
        async with asyncio.timeout(self.timeout_s):
            if self._is_async:
                value = await self.handler(*arguments)
            else:
                # A plain function may block: its own thread keeps it from holding up anybody else.
                value = await asyncio.to_thread(self.handler, *arguments)
        return Decided([], None, self.result.encode(value))


@overload
def function(handler: Callable[..., Any]) -> Function: ...
@overload
def function(
    *, name: str | None = None, retry: RetryPolicy | None = None, timeout_s: float | None = 60.0
) -> Callable[[Callable[..., Any]], Function]: ...
def function(
    handler: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    timeout_s: float | None = 60.0,
) -> Any:
    """Defines a function: `(…)` or `(ctx, …)`, plain or `async`.

    Args:
        name: the kind under which it is called; the function's own name by default.
        retry: what happens when it raises; three attempts by default.
        timeout_s: seconds per attempt, or None for no limit.
    """
    if handler is None:
        return lambda given: Function(name or given.__name__, given, retry or RetryPolicy(), timeout_s)
    return Function(name or handler.__name__, handler, retry or RetryPolicy(), timeout_s)
