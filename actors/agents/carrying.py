"""How a tool's call is carried out: with its hooks and its time-out, and what a model is told of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from actors.agents.hooks import Hooked, Hooks, Point
from actors.agents.tools import ONCE, BadCall, Tool, ToolContext, told
from runtime import Function, Limits, Rejected, RetryPolicy, Turn
from runtime.errors import BadResult
from runtime.failure import text_of

LOCKED = "tool-"
"""Begins the names of the kinds of tools of which one call goes on at a time."""

LOCK = "lock"
"""The key of all calls of such a tool: a run holds its key."""


class Told(Struct, frozen=True, omit_defaults=True):
    """What a model is told of a call: what came of it, or why it failed; `bad` when its arguments did not fit."""

    text: str = ""
    error: str = ""
    bad: bool = False


async def carried(tool: Tool, arguments: str, ctx: ToolContext, hooks: Hooks) -> str:
    """Carries a call out, and gives what a model is told of it. Raises BadCall, and what tool and hooks raise."""
    event = Hooked("tool.before", ctx.agent, ctx.session, ctx.run, ctx.key, tool.name)

    async def fire(point: Point, value: Any) -> Any:
        return await hooks.fire(replace(event, point=point, value=value))

    given = await fire("tool.before", tool.decode(arguments))
    if not isinstance(given, dict):
        raise BadResult(f"a hook before tool {tool.name!r} gave {type(given).__name__}, not its arguments")
    try:
        async with asyncio.timeout(tool.timeout_s):
            value = await tool.call(given, ctx)
            if isinstance(value, AsyncIterator):
                value = [await fire("tool.value", one) async for one in value]
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Something within it was, and not the run: that is a failure of the tool like any other.
        await fire("tool.error", "CancelledError")
        raise RuntimeError(f"tool {tool.name!r} was cancelled from within") from error
    except TimeoutError as error:
        said = str(error) or f"tool {tool.name!r} took longer than its time-out, {tool.timeout_s} s"
        await fire("tool.timeout", said)
        raise TimeoutError(said) from error
    except Exception as error:
        await fire("tool.error", text_of(error))
        raise
    return told(await fire("tool.after", value))


class Locked(Function):
    """The function that carries a tool's calls out one at a time: of a tenant, over all pods, and through crashes."""

    def __init__(self, tool: Tool) -> None:
        self._hooks_of: dict[str, Callable[[], Hooks]] = {}

        async def locked(ctx: Turn, arguments: str, context: ToolContext) -> Told:
            hooks = self._hooks_of.get(context.agent, Hooks)()
            return await ctx.step(  # type: ignore[no-any-return]  # read as `returns`
                "call", _tried, tool, arguments, context, hooks, returns=Told
            )

        super().__init__(LOCKED + tool.name, locked, RetryPolicy(), None, limits=Limits(per_key=1))

    def of(self, agent: str, hooks: Callable[[], Hooks]) -> None:
        """Calls of that agent have these hooks."""
        self._hooks_of[agent] = hooks


async def _tried(tool: Tool, arguments: str, context: ToolContext, hooks: Hooks) -> Told:
    attempt = 1
    while True:
        try:
            return Told(await carried(tool, arguments, context, hooks))
        except (BadCall, Rejected) as error:
            return Told(error=str(error), bad=isinstance(error, BadCall))
        except Exception as error:  # noqa: BLE001  # whatever the tool raises is what its policy is for
            policy = tool.retry or ONCE
            if attempt == policy.max_attempts or policy.gives_up(error):
                return Told(error=f"{tool.name} failed, on attempt {attempt} the last time: {text_of(error)}")
            await asyncio.sleep(policy.wait_s(error, attempt, random.random()))
        attempt += 1
