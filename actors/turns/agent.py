"""An agent of turns: its tools are called one turn at a time, in the order in which turns were put.

    @tool
    async def greet(name: str) -> str: ...

    greeter = turns("greeter", "Greets people.", [greet])
    ...
    await TurnQueue(client, greeter, "front-desk").put(Turn("greet", kwargs={"name": "Ann"}))

What a tool gives is a value of its turn; a generator gives several, and None is a value as any. A `Turn` is no value:
it is put on the same queue, and a `Send` on another agent's, when the turn is done, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.agents.carrying import LOCK, Locked, Told
from actors.agents.hooks import Hook, Hooked, Hooks, Point
from actors.agents.plugins import installed
from actors.agents.tools import BadCall, FunctionTool, ToolContext
from actors.turns.queue import OnFailure, Queue, queue_of
from actors.turns.turn import LATE, Send, Turn
from runtime import BadDefinition, Entity, Function, Rejected, RetryPolicy
from runtime import Turn as Context
from runtime.failure import text_of

SUFFIX = "-turn"
"""Ends the name of the function that takes an agent's turns."""


class Outcome(Struct, frozen=True, omit_defaults=True):
    """What a tool that is no generator gave."""

    value: Any = None
    turn: Turn | None = None
    send: Send | None = None


def turns(
    name: str,
    description: str = "",
    tools: Sequence[FunctionTool] = (),
    *,
    late: Mapping[str, Callable[[], Any]] | None = None,
    hooks: Sequence[Hook] = (),
    on_failure: OnFailure = "continue",
) -> Entity[Queue]:
    """An agent of turns.

    Args:
        late: functions for arguments that are found when a turn begins; see Late.
        hooks: those of turns and of tools; see actors.agents.hooks.
        on_failure: what becomes of the queue when a turn fails: it goes on, or holds until `go_on` or `retry`. The turn
            itself is kept, with its error.

    Raises BadDefinition when the definition cannot work.
    """
    known = {one.name: one for one in tools}
    if len(known) < len(tools):
        raise BadDefinition(f"agent {name!r} has two tools of one name")
    taking = _Taking(name, known, dict(late or {}), Hooks(hooks))
    queue = queue_of(name, name + SUFFIX, frozenset(known), on_failure)
    queue.description = description
    # Once: what fails is the queue's to tell of, and no dead letter. A pod that dies is another matter.
    function = Function(name + SUFFIX, taking.run, RetryPolicy(max_attempts=1), None)
    queue.companions = (*queue.companions, function, *[_locked(one, name, taking) for one in tools if one.lock])
    return queue


def _locked(tool: FunctionTool, name: str, taking: _Taking) -> Locked:
    tool.locked = tool.locked or Locked(tool)
    tool.locked.of(name, lambda: taking.hooks)
    return tool.locked


class _Taking:
    """Takes turns."""

    def __init__(
        self, name: str, tools: Mapping[str, FunctionTool], late: Mapping[str, Callable[[], Any]], hooks: Hooks
    ) -> None:
        self._name = name
        self._tools = tools
        self._late = late
        self._hooks = hooks

    @property
    def hooks(self) -> Hooks:
        """Those of the installed plugins, and its own behind them."""
        return self._hooks.after(installed(self._name))

    async def run(self, ctx: Context, turn: Turn) -> AsyncIterator[Any]:
        """Takes a turn, and yields its values."""
        hooks, key = self.hooks, f"{self._name}/{ctx.key}/{ctx.command_id}"

        async def fire(point: Point, value: Any) -> Any:
            event = Hooked(point, self._name, ctx.session or "", ctx.command_id, key, turn.tool, value)
            return await hooks.fire(event)

        try:
            async with asyncio.timeout(turn.timeout_s):
                turn = await ctx.step("begin", self._begun, turn, fire, returns=Turn)
                async for value in self._values(ctx, turn, key):
                    if isinstance(value, Turn):
                        ctx.tell(self._name, ctx.key, "put", value)
                    elif isinstance(value, Send):
                        ctx.tell(value.agent, value.key, "put", value.turn)
                    else:
                        yield await fire("turn.value", value)
                await fire("turn.after", turn)
        except TimeoutError as error:
            said = f"turn {turn.tool!r} of {self._name}/{ctx.key} took longer than its {turn.timeout_s:g} s"
            await fire("turn.timeout", said)
            raise Rejected(said, {"stop_reason": "timeout"}) from error
        except Exception as error:
            await fire("turn.error", text_of(error))
            raise Rejected(text_of(error), {"stop_reason": "error"}) from error

    async def _begun(self, turn: Turn, fire: Callable[[Point, Any], Any]) -> Turn:
        """The turn as its hooks leave it, with its late arguments."""
        found = await fire("turn.before", turn)
        if not isinstance(found, Turn):
            raise TypeError(f"a hook before turn {turn.tool!r} gave {type(found).__name__}, not a Turn")
        args = tuple([await self._resolved(one) for one in found.args])
        kwargs = {name: await self._resolved(one) for name, one in found.kwargs.items()}
        return replace(found, args=args, kwargs=kwargs)

    async def _resolved(self, value: Any) -> Any:
        if not (isinstance(value, dict) and value.keys() == {LATE}):
            return value
        if (find := self._late.get(value[LATE])) is None:
            known = ", ".join(self._late) or "none"
            raise BadCall(f"agent {self._name!r} has no late value {value[LATE]!r}: it has {known}")
        found = find()
        return await found if asyncio.iscoroutine(found) else found

    async def _values(self, ctx: Context, turn: Turn, key: str) -> AsyncIterator[Any]:
        tool = self._tools[turn.tool]
        arguments = msgspec.json.encode(tool.named(turn.args, turn.kwargs)).decode()
        given = tool.decode(arguments)
        if tool.asks_first(given):
            payload = {"agent": self._name, "tool": tool.name, "arguments": given}
            outcome = await ctx.human.approval(tool.name, payload, required_roles=tool.required_roles)
            if not outcome.approved:
                raise BadCall(f"a person has not approved this turn ({outcome.status})")
        context = ToolContext(
            self._name, ctx.session or "", ctx.command_id, key, ctx.principal, ctx.roles, ctx.address.tenant
        )
        if tool.locked is not None:
            asked = {"arguments": arguments, "context": context}
            told = await ctx.ask(tool.locked, LOCK, "run", asked, type=Told, timeout_s=turn.timeout_s)
            if told.error:
                raise BadCall(told.error)
            yield told.text
            return
        if tool.generates:
            values = await tool.call(given, context)
            async for value in values:
                yield value
            return
        done = await ctx.step("call", _called, tool, given, context, returns=Outcome)
        yield done.turn or done.send or done.value


async def _called(tool: FunctionTool, given: Mapping[str, Any], context: ToolContext) -> Outcome:
    value = await tool.call(given, context)
    if isinstance(value, Turn):
        return Outcome(turn=value)
    return Outcome(send=value) if isinstance(value, Send) else Outcome(value)
