"""What a run shows while it goes on: values for the stream of its session, beside the log.

    async def write(prompt: str) -> str:
        async for token in model(prompt):
            show(token)
        ...

    text = await ctx.step("write", write, prompt)

They leave at once, and are nowhere but in the session's stream, for as long as that keeps them: what must not be lost
is the step's result, which is an event. Each carries the attempt that it is of, a number that only grows, whatever
dies: so a reader drops what a former attempt had shown, and what one says that was given up and does not know it yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from runtime.activity import outside
from runtime.ambient.secrets import guard
from runtime.ambient.step import in_step
from runtime.arguments import MAX_KEPT_NESTING, UNENCODABLE, encode_json, nests_too_deep
from runtime.errors import BadResult

MAX_SHOWN_BYTES = 524_288
"""Of one value, as JSON."""

LASTING = 0
"""In the place of an attempt: what a workflow shows outside of its steps is never void, since a replay goes on."""

current: ContextVar[Showing | None] = ContextVar("troupe_showing", default=None)


class Shown(NamedTuple):
    """A value on its way. `value` is JSON; None says that what the attempts before this one have shown is void.

    Attributes:
        step, occurrence: the step that shows it, '' outside of steps; and how many of that name were before.
        attempt: greater than that of any attempt before, or LASTING.
        number: of its attempt, from 0.
    """

    step: str
    occurrence: int
    attempt: int
    number: int
    value: bytes | None


class Screen(Protocol):
    """Where a run's values go; for the event loop of handlers."""

    def attempt(self) -> int:
        """The number of a new attempt: greater than any before it, on whatever pod."""

    def show(self, shown: Shown) -> None:
        """Sends a value. It may be lost, and waits for nobody."""

    def flush(self, step: str, occurrence: int) -> None:
        """Sends what waits of a step before whatever is recorded from now on."""


def show(value: Any) -> None:
    """Shows a value to who watches the run's session, from within a step, in whatever thread; see `ctx.show`."""
    _showing().take(encoded(value))


def unshow() -> None:
    """Takes back what this attempt at a step has shown so far; see `ctx.unshow`."""
    _showing().take(None)


def encoded(value: Any) -> bytes:
    """A value as it is shown. Raises BadResult."""
    try:
        found = guard.checked(encode_json(value), "a value that is shown")
    except (*UNENCODABLE, RecursionError) as error:
        raise BadResult(f"a value that is shown, a {type(value).__name__}, has no JSON form: {error}") from error
    if len(found) > MAX_SHOWN_BYTES or nests_too_deep(found, MAX_KEPT_NESTING):
        raise BadResult(f"a value that is shown has at most {MAX_SHOWN_BYTES} bytes and {MAX_KEPT_NESTING} levels")
    return found


def _showing() -> Showing:
    showing = current.get()
    if showing is not None:
        return showing
    if in_step.get():
        return _NOBODY  # the run has no session, and nobody watches
    raise BadResult("show() is for the functions of steps: elsewhere, use ctx.show in an execution")


class Showing:
    """What one attempt at a step shows; `take` may be called from any thread."""

    __slots__ = ("_attempt", "_fixed", "_loop", "_next", "_occurrence", "_over", "_screen", "_step", "passing")

    def __init__(
        self,
        screen: Screen | None,
        loop: asyncio.AbstractEventLoop | None,
        step: str = "",
        occurrence: int = 0,
        *,
        lasting: bool = False,
    ) -> None:
        self._screen = screen
        self._loop = loop
        self._step = step
        self._occurrence = occurrence
        self._attempt = LASTING
        self._fixed = lasting
        self._next = 0
        self._over = False
        self.passing = False
        """Whether what it is given was shown before: a replay passes it again. It keeps its number."""

    def take(self, value: bytes | None) -> None:
        """Shows a value; None takes back what was shown. Raises asyncio.CancelledError once the attempt is over."""
        if self._over:
            raise asyncio.CancelledError("the attempt that this value is of is over")
        if self._screen is None or self._loop is None:
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._send(value)
        else:
            self._loop.call_soon_threadsafe(self._send, value, context=outside())

    def end(self) -> None:
        """The attempt is over."""
        self._over = True
        if self._next and self._screen is not None:
            self._screen.flush(self._step, self._occurrence)

    def _send(self, value: bytes | None) -> None:
        screen = self._screen
        if screen is None or self._over:
            return
        if self.passing:
            self._next = 0 if value is None else self._next + 1
            return
        if value is None and self._next == 0:
            return
        if not self._fixed and (value is None or self._attempt == LASTING):
            self._attempt = screen.attempt()
        screen.show(Shown(self._step, self._occurrence, self._attempt, 0 if value is None else self._next, value))
        self._next = 0 if value is None else self._next + 1


_NOBODY = Showing(None, None)


def showing_in(
    screen: Screen | None, loop: asyncio.AbstractEventLoop, step: str, occurrence: int
) -> Callable[[], None]:
    """Lets what runs in this context show values as a step's attempt; gives what ends that."""
    if screen is None:
        return _nothing
    showing = Showing(screen, loop, step, occurrence)
    mark = current.set(showing)

    def end() -> None:
        current.reset(mark)
        showing.end()

    return end


def _nothing() -> None:
    """Nobody watches."""
