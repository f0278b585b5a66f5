"""Hooks: functions that see, and may change, what happens around a request, a model, a tool, a memory, a turn.

    @hook("tool.before", of=("refund",), limit=500)
    async def cap(event: Hooked, limit: int) -> dict[str, Any] | None:
        if event.value["amount"] > limit:
            raise Rejected(f"at most {limit}")      # the model is told so

Every hook runs within a step (docs/adr/0033), so all of them may do I/O: what is recorded was seen by its hooks once; a
step that is cut off before it is recorded runs again, with its hooks, under the same `event.key`.

    subject     moments                             its step
    request     before after error timeout          one of its own, for each moment that somebody hooks
    agent       before after                        the same: an agent begins, and has ended its part
    model       before after value error timeout    that of the call
    tool        before after value error timeout    that of the call
    memory      before after                        that of the call that recalls or keeps
    turn        before after value error timeout    the turn's run (actors/turns)

What `before` gives replaces what is asked, what `after` and `value` give replaces what came of it; None leaves it as
it is. What `before` and `after` raise is a failure of what they are around, and a Rejected refuses it; `value`, `error`
and `timeout` watch: what they raise is logged. Hooks of one point run in order: those of plugins first.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args, overload
from weakref import WeakKeyDictionary

from msgspec import Struct
from msgspec.structs import replace

from runtime.arguments import hints_of, name_of
from runtime.errors import BadDefinition

_log = logging.getLogger("troupe.hooks")

Point = Literal[
    "request.before", "request.after", "request.error", "request.timeout",
    "agent.before", "agent.after",
    "model.before", "model.after", "model.value", "model.error", "model.timeout",
    "tool.before", "tool.after", "tool.value", "tool.error", "tool.timeout",
    "memory.before", "memory.after",
    "turn.before", "turn.after", "turn.value", "turn.error", "turn.timeout",
]  # fmt: skip
POINTS: tuple[Point, ...] = get_args(Point)

WATCHING = ("value", "error", "timeout")
"""Moments whose hooks cannot make anything fail."""


class Hooked(Struct, frozen=True, omit_defaults=True):
    """What a hook is told.

    Attributes:
        name: the tool's, the slot's, the agent's; of a turn its tool's.
        value: what is asked, or what came of it; of an error its text.
        key: the same each time that the same thing is tried again.
    """

    point: Point
    agent: str = ""
    session: str = ""
    run: str = ""
    key: str = ""
    name: str = ""
    value: Any = None


class Hook:
    """A function that is called at some points. Made by `hook`."""

    def __init__(
        self,
        fn: Callable[..., Any],
        points: Sequence[Point],
        *,
        lock: bool = False,
        of: Sequence[str] = (),
        fixed: dict[str, Any] | None = None,
    ) -> None:
        self.fn = fn
        self.name = str(getattr(fn, "__name__", type(fn).__name__))
        self.description = (inspect.getdoc(fn) or "").strip()
        self.points = tuple(points)
        self.of = tuple(of)
        self.lock = lock
        self.fixed = dict(fixed or {})
        if not self.points or (unknown := set(self.points) - set(POINTS)):
            said = ", ".join(sorted(unknown)) if self.points else "none"
            raise BadDefinition(f"hook {self.name!r} is for {said}: there are {', '.join(POINTS)}")
        parameters = inspect.signature(fn).parameters
        hints_of(fn)
        if len(parameters) < 1 or (missing := self.fixed.keys() - parameters.keys()):
            said = f"has no parameter {', '.join(sorted(missing))} to fix" if parameters else "takes no event"
            raise BadDefinition(f"hook {name_of(fn)} {said}")
        # An event loop's own: pods and tests run several in one process.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def concerns(self, event: Hooked) -> bool:
        """Whether it is called for this."""
        return event.point in self.points and (not self.of or event.name in self.of)

    async def __call__(self, event: Hooked) -> Any:
        """Calls the function, a plain one in a thread, one at a time if it has a lock."""
        if not self.lock:
            return await self._called(event)
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            return await self._called(event)

    async def _called(self, event: Hooked) -> Any:
        if inspect.iscoroutinefunction(self.fn):
            return await self.fn(event, **self.fixed)
        return await asyncio.to_thread(self.fn, event, **self.fixed)


class Hooks:
    """Several, in order."""

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._hooks = tuple(hooks)
        self._points = frozenset(point for one in self._hooks for point in one.points)

    def at(self, *points: Point) -> bool:
        """Whether there are any at one of these points."""
        return not self._points.isdisjoint(points)

    def after(self, first: Hooks) -> Hooks:
        """These behind others."""
        return Hooks((*first._hooks, *self._hooks)) if first._hooks else self

    async def fire(self, event: Hooked) -> Any:
        """What the value is when all that are concerned have seen it. Raises what those raise that do not watch."""
        if event.point not in self._points:
            return event.value
        watches = event.point.rpartition(".")[2] in WATCHING
        for one in self._hooks:
            if not one.concerns(event):
                continue
            try:
                found = await one(event)
            except Exception as error:
                if not watches:
                    raise
                _log.warning("hook %s at %s failed: %r", one.name, event.point, error)
                continue
            if found is not None:
                event = replace(event, value=found)
        return event.value


@overload
def hook(*points: Point, lock: bool = False, of: Sequence[str] = (), **fixed: Any) -> Callable[..., Hook]: ...
@overload
def hook(*points: Any, lock: bool = False, of: Sequence[str] = (), **fixed: Any) -> Callable[..., Hook]: ...
def hook(*points: Any, lock: bool = False, of: Sequence[str] = (), **fixed: Any) -> Callable[..., Hook]:
    """Makes a hook of a function `(event: Hooked, …)`, `async` or plain, for one or several points.

    Args:
        lock: one call of it at a time in this process.
        of: only of tools, slots or agents of these names.
        fixed: further arguments, the same in every call.
    """

    def make(fn: Callable[..., Any]) -> Hook:
        return Hook(fn, points, lock=lock, of=of, fixed=fixed)

    return make


NONE = Hooks()
