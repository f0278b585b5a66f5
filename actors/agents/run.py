"""A run of an agent: it asks its model and calls its tools until there is an answer, each a step."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec.structs import replace

from actors.agents.carrying import LOCK, Told, carried
from actors.agents.hooks import Hooked, Point
from actors.agents.hosted import Hosted
from actors.agents.output import DoesNotFit, Output, mend
from actors.agents.planning import Plan
from actors.agents.thinking import Thought, think
from actors.agents.tools import MAX_NAME, ONCE, BadCall, Tool, ToolContext, told
from actors.memory.recalling import owner
from actors.memory.tools import MemoryTool
from actors.models.wire import Message, ToolCall, Usage
from actors.prompts.record import Known
from actors.prompts.slots import About
from actors.sessions.session import Answer, Task
from runtime import CallFailed, Rejected, StepFailed, Workflow
from runtime.failure import text_of
from runtime.policy import RetryPolicy
from schemas.address import BadAddress, encode_token
from schemas.shown import MODEL, Note

if TYPE_CHECKING:
    from actors.agents.agent import Agent

T = TypeVar("T")

MODEL_TRIES = RetryPolicy(max_attempts=3)
"""Of a model call in which nobody has answered."""

FAILED = "error: "
"""Begins what a model is told of a call that came to nothing."""

HOOK_TRIES = RetryPolicy(max_attempts=3)


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
        self.known = Known()
        self.bad_calls = 0
        self.repairs = 0
        self._id = f"{ctx.key}/{ctx.command_id}"

    async def through(self) -> Answer:
        """The answer. Raises LimitReached, StepFailed when no model has answered, and what hooks refuse."""
        first = self.agent
        seconds = first.limits.seconds
        try:
            self.task = await self._hooked("request.before", self.task, Task)
            if seconds is None:
                answer = await self._answer()
            else:
                try:
                    async with self.ctx.timeout(seconds):
                        answer = await self._answer()
                except TimeoutError:
                    said = f"agent {self.agent.name!r} has worked for {seconds:g} s: that is the limit"
                    await self._hooked("request.timeout", said, Any, first)
                    raise LimitReached(said) from None
            answer = await self._hooked("request.after", answer, Answer, first)
            return replace(answer, learns=self._learns(first))
        except (Rejected, StepFailed, CallFailed) as error:
            await self._hooked("request.error", text_of(error), Any, first)
            raise

    def _learns(self, agent: Agent) -> str:
        """The key of the memory that is to learn of what was said; empty for none."""
        memory, task = agent.memory, self.task
        if memory is None or memory.learns is None or task.plan or not task.session:
            return ""
        return owner(memory.learns, self._about(agent)) or ""

    def _about(self, agent: Agent) -> About:
        turn = self.ctx.turn
        return About(agent.name, self.task.session, turn.command_id, self.task.text, turn.principal)

    async def _answer(self) -> Answer:
        if self.task.plan:
            return await self._plan()
        await self._hooked("agent.before", None, Any)
        for number in range(1, self.agent.max_iterations + 1):
            agent, limits = self.agent, self.agent.limits
            thought = await self._think(number)
            message = replace(thought.message, name=agent.name)
            self.own.append(message)
            self.usage += thought.usage
            if not message.tool_calls:
                answer = self._read(message, agent.output)
                if answer is not None:
                    await self._hooked("agent.after", message.content, Any)
                    return answer
                continue
            self._check()
            results = await asyncio.gather(
                *[self._call(agent, call, f"{number}.{at}") for at, call in enumerate(message.tool_calls, 1)]
            )
            self.own += results
            if self.bad_calls > limits.bad_calls:
                raise LimitReached(f"agent {agent.name!r} called its tools wrongly {self.bad_calls} times in a row")
            if agent.fast_path and not any(one.content.startswith(FAILED) for one in results):
                # What the one tool gave is the answer: the model is not asked to say it again.
                text = "\n".join(one.content for one in results)
                return Answer(text, (*self.own, Message("assistant", text, name=agent.name)), agent.name)
            if self.agent is not agent:
                await self._hooked("agent.after", None, Any, agent)
                await self._hooked("agent.before", None, Any)
        raise LimitReached(
            f"agent {self.agent.name!r} has asked its model {self.agent.max_iterations} times, and has no answer"
        )

    async def _plan(self) -> Answer:
        number, plan = 1, Output(self.agent.name, Plan)
        while True:
            message = (await self._think(number)).message
            self.own.append(message)
            answer = self._read(message, plan)
            if answer is not None:
                return replace(answer, messages=())
            number += 1

    async def _think(self, number: int) -> Thought:
        agent, said = self.agent, tuple(self.own)
        thinking = partial(think, self.ctx, self.task, agent, said, self._id, self.known)

        async def ask(_: str, __: int) -> Thought:
            """What it is called with tells it from others, and is nothing that grows."""
            return await thinking()

        thought: Thought = await self.ctx.step(MODEL, ask, agent.name, number, returns=Thought, retry=MODEL_TRIES)
        self.known = self.known.behind(thought.prompt)
        return thought

    def _read(self, message: Message, shape: Output | None) -> Answer | None:
        """The answer that a message is; None for one that is to be mended, which the model is told then."""
        agent = self.agent
        if shape is None:
            return Answer(message.content, tuple(self.own), agent.name)
        try:
            output = shape.read(message.content)
        except DoesNotFit as error:
            self.repairs += 1
            if self.repairs > agent.limits.repairs:
                raise LimitReached(
                    f"the answer of agent {agent.name!r} does not fit what it is to answer with, after "
                    f"{agent.limits.repairs} repairs: {error}"
                ) from error
            self.own.append(mend(error))
            return None
        return Answer(message.content, tuple(self.own), agent.name, output)

    def _check(self) -> None:
        limits = self.agent.limits
        tokens, cost = self.usage.prompt_tokens + self.usage.completion_tokens, self.usage.cost_usd or 0.0
        if limits.tokens is not None and tokens > limits.tokens:
            raise LimitReached(f"agent {self.agent.name!r} took {tokens} tokens: {limits.tokens} is the limit")
        if limits.cost_usd is not None and cost > limits.cost_usd:
            raise LimitReached(f"agent {self.agent.name!r} cost {cost:.4f} USD: {limits.cost_usd:g} is the limit")

    # -- tools ----------------------------------------------------------------------------------------------------

    async def _call(self, agent: Agent, call: ToolCall, place: str) -> Message:
        """What the model is told of a call that it wanted. `place` tells it from others: a model may repeat its ids."""
        try:
            text = await self._result(agent, call, place)
            self.bad_calls = 0
        except (BadCall, StepFailed, CallFailed, Rejected) as error:
            self.bad_calls += isinstance(error, BadCall)
            text = told(f"{FAILED}{error}")
        goes_on = self.agent.name if self.agent is not agent and call.name in agent.hands_off_to else ""
        name = call.name[:MAX_NAME]
        self.ctx.show(Note(place, name, text, text.startswith(FAILED), goes_on))
        return Message("tool", text, tool_call_id=call.id, name=name)

    async def _result(self, agent: Agent, call: ToolCall, place: str) -> str:
        if call.name in agent.hands_off_to:
            self.agent = agent.hands_off_to[call.name]
            return f"{self.agent.name} goes on with the conversation"
        found = agent.tool(call.name)
        if found is None:
            known = ", ".join([*agent.tools, *agent.hands_off_to]) or "none"
            raise BadCall(f"there is no tool {call.name[:MAX_NAME]!r}; there is {known}")
        if isinstance(found, Tool):
            return await self._function(agent, found, call, place)
        given = _object(call)
        if isinstance(found, MemoryTool):
            return await found.call(self.ctx, self._about(agent), given, place)
        if not isinstance(found, Hosted):
            key = f"{self.ctx.key}/{place}"
            task = Task("", 0, str(given.get("request", "")))
            answer = await self.ctx.child(found, key, task, returns=Answer)
            return str(answer.text)
        key = found.key if found.key is not None else str(given.pop("key", ""))
        try:
            encode_token(key)
        except BadAddress as error:
            raise BadCall(f"{call.name} needs to know which: {error}") from error
        if not found.reads:
            return told(await self.ctx.ask(found.kind, key, found.method, given))

        async def look(_: str) -> str:
            return told(await self.ctx.look(found.kind, key, found.method, given))

        return str(await self.ctx.step(f"tool {found.name}", look, place, retry=ONCE))

    async def _function(self, agent: Agent, tool: Tool, call: ToolCall, place: str) -> str:
        given = tool.decode(call.arguments)
        try:
            asks_first = tool.asks_first(given)
        except Exception as error:
            raise Rejected(f"nobody can say whether a person is to approve this call: {text_of(error)}") from error
        if asks_first:
            payload = {"agent": agent.name, "tool": tool.name, "arguments": given}
            outcome = await self.ctx.human.approval(tool.name, payload, required_roles=tool.required_roles)
            if not outcome.approved:
                why = f": {outcome.comment}" if outcome.comment else ""
                raise Rejected(f"a person has not approved this call ({outcome.status}{why}); do not repeat it")
        turn = self.ctx.turn
        context = ToolContext(
            agent.name, self.task.session, turn.command_id, f"{self._id}/{place}", turn.principal, turn.roles,
            self.ctx.address.tenant,
        )  # fmt: skip
        if tool.locked is not None:
            asked = {"arguments": call.arguments, "context": context}
            result = await self.ctx.child(tool.locked, LOCK, asked, returns=Told)
        else:

            async def called(_: str, arguments: str) -> Told:
                try:
                    return Told(await carried(tool, arguments, context, agent.hooks))
                except BadCall as error:
                    return Told(error=str(error), bad=True)

            result = await self.ctx.step(
                f"tool {tool.name}", called, place, call.arguments, returns=Told, retry=tool.retry
            )
        if result.bad:
            raise BadCall(result.error)
        return f"{FAILED}{result.error}" if result.error else str(result.text)

    # -- hooks ----------------------------------------------------------------------------------------------------

    async def _hooked(self, point: Point, value: T, type: Any, agent: Agent | None = None) -> T:
        """What the value is when the hooks of a point have seen it, in a step of their own; if there are any."""
        agent = agent or self.agent
        hooks = agent.hooks
        # A run that has passed here before the agent had such hooks goes on without them.
        if not hooks.at(point) or not self.ctx.patched(f"hooks {point}"):
            return value
        event = Hooked(point, agent.name, self.task.session, self.ctx.command_id, self._id, agent.name, value)

        async def fire(_: str) -> Any:
            return await hooks.fire(event)

        seen: T = await self.ctx.step(f"hooks {point}", fire, agent.name, returns=type, retry=HOOK_TRIES)
        return seen


def _object(call: ToolCall) -> dict[str, Any]:
    try:
        return msgspec.json.decode(call.arguments, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise BadCall(f"the arguments of {call.name} are no JSON object: {error}") from error
