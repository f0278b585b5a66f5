"""A run of an agent: it asks its model and calls its tools until there is an answer, each a step."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from actors.agents.thinking import Thought, think
from actors.agents.tools import BadCall, Hosted, Tool, ToolContext, told
from actors.models.wire import Message, ToolCall, Usage
from actors.sessions.session import Answer, Task
from runtime import CallFailed, Rejected, StepFailed, Workflow
from runtime.policy import RetryPolicy
from schemas.address import BadAddress, encode_token

if TYPE_CHECKING:
    from actors.agents.agent import Agent, Limits

MODEL_TRIES = RetryPolicy(max_attempts=3)
"""Of a model call in which nobody has answered."""


class LimitReached(Rejected):
    """The run has taken what it may take."""


class AgentRun:
    """One run: whose turn it is, and what was said so far."""

    def __init__(self, agent: Agent, ctx: Workflow, task: Task) -> None:
        self.agent = agent
        self.ctx = ctx
        self.task = task
        self.own: list[Message] = []
        self.usage = Usage()
        self.bad_calls = 0

    async def through(self) -> Answer:
        limits = self.agent.limits
        for number in range(1, self.agent.max_iterations + 1):
            agent, said = self.agent, tuple(self.own)
            thinking = partial(
                think, self.ctx, self.task, agent.instructions, said, agent.specs, agent.slot, agent.override,
                agent.context_tokens,
            )  # fmt: skip
            thought: Thought = await self.ctx.step(
                "model", _asked(thinking), agent.name, number, returns=Thought, retry=MODEL_TRIES
            )
            message = msgspec.structs.replace(thought.message, name=agent.name)
            self.own.append(message)
            self.usage += thought.usage
            if not message.tool_calls:
                return Answer(message.content, tuple(self.own), agent.name)
            self._check(limits)
            self.own += await asyncio.gather(
                *[self._call(agent, call, f"{number}.{at}") for at, call in enumerate(message.tool_calls, 1)]
            )
            if self.bad_calls > limits.bad_calls:
                raise LimitReached(f"agent {agent.name!r} called its tools wrongly {self.bad_calls} times in a row")
        raise LimitReached(
            f"agent {self.agent.name!r} has asked its model {self.agent.max_iterations} times, and has no answer"
        )

    def _check(self, limits: Limits) -> None:
        tokens, cost = self.usage.prompt_tokens + self.usage.completion_tokens, self.usage.cost_usd or 0.0
        if limits.tokens is not None and tokens > limits.tokens:
            raise LimitReached(f"agent {self.agent.name!r} took {tokens} tokens: {limits.tokens} is the limit")
        if limits.cost_usd is not None and cost > limits.cost_usd:
            raise LimitReached(f"agent {self.agent.name!r} cost {cost:.4f} USD: {limits.cost_usd:g} is the limit")

    async def _call(self, agent: Agent, call: ToolCall, place: str) -> Message:
        """What the model is told of a call that it wanted. `place` tells it from others: a model may repeat its ids."""
        try:
            text = await self._result(agent, call, place)
            self.bad_calls = 0
        except BadCall as error:
            self.bad_calls += 1
            text = f"error: {error}"
        except (StepFailed, CallFailed, Rejected) as error:
            text = f"error: {error}"
        return Message("tool", text, tool_call_id=call.id, name=call.name)

    async def _result(self, agent: Agent, call: ToolCall, place: str) -> str:
        if call.name in agent.hands_off_to:
            self.agent = agent.hands_off_to[call.name]
            return f"{self.agent.name} goes on with the conversation"
        found = agent.tools.get(call.name)
        if found is None:
            known = ", ".join([*agent.tools, *agent.hands_off_to]) or "none"
            raise BadCall(f"there is no tool {call.name!r}; there is {known}")
        if isinstance(found, Tool):
            return await self._function(agent, found, call, place)
        given = _object(call)
        if not isinstance(found, Hosted):
            key = f"{self.ctx.key}/{place}"
            answer = await self.ctx.child(found, key, Task("", 0, str(given.get("request", ""))), returns=Answer)
            return str(answer.text)
        key = found.key if found.key is not None else str(given.pop("key", ""))
        try:
            encode_token(key)
        except BadAddress as error:
            raise BadCall(f"{call.name} needs to know which: {error}") from error
        return told(await self.ctx.ask(found.kind, key, found.method, given))

    async def _function(self, agent: Agent, tool: Tool, call: ToolCall, place: str) -> str:
        given = tool.decode(call.arguments)
        if tool.confirmation:
            payload = {"agent": agent.name, "tool": tool.name, "arguments": given}
            outcome = await self.ctx.human.approval(tool.name, payload, required_roles=tool.required_roles)
            if not outcome.approved:
                why = f": {outcome.comment}" if outcome.comment else ""
                return f"a person has not approved this call ({outcome.status}{why}); do not repeat it"
        turn = self.ctx.turn
        key = f"{self.ctx.key}/{turn.command_id}/{place}"
        context = ToolContext(agent.name, self.task.session, turn.command_id, key, turn.principal, turn.roles)

        async def called(_: str, arguments: str) -> str:
            return told(await tool.call(arguments, context))

        return str(
            await self.ctx.step(
                f"tool {tool.name}", called, place, call.arguments, retry=tool.retry, timeout_s=tool.timeout_s
            )
        )


def _asked(thinking: Any) -> Any:
    """The step's function: what it is called with tells it from others, and is nothing that grows."""

    async def ask(_: str, __: int) -> Thought:
        return await thinking()  # type: ignore[no-any-return]  # it is a partial of `think`

    return ask


def _object(call: ToolCall) -> dict[str, Any]:
    try:
        return msgspec.json.decode(call.arguments, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise BadCall(f"the arguments of {call.name} are no JSON object: {error}") from error
