"""One question to a model: what it is told of a conversation, and what of that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from actors.agents.hooks import Hooked
from actors.agents.planning import asked_for, schema_for
from actors.models.current import models
from actors.models.fleet import CHARACTERS_A_TOKEN
from actors.models.model import NoAnswer, Unavailable
from actors.models.wire import Anew, Completion, Delta, Message, ModelRequest, Usage
from actors.sessions.session import KIND as SESSION
from actors.sessions.session import Task
from actors.sessions.transcript import Line
from runtime import Workflow
from runtime.errors import BadResult

if TYPE_CHECKING:
    from actors.agents.agent import Agent

T = TypeVar("T")

WINDOW = 200
"""Messages of a session that are looked at for a prompt, at most."""


class Prompt(Struct, frozen=True, omit_defaults=True):
    """What a model was told, so that it can be made again: the session's messages from and to, and how many were cut.

    Attributes:
        own: messages of the run's own that came behind them.
    """

    first: int = 0
    last: int = 0
    own: int = 0
    summary: bool = False


class Thought(Struct, frozen=True, omit_defaults=True):
    """What a step that asks a model results in."""

    message: Message
    model: str
    finish: str
    usage: Usage
    prompt: Prompt


async def think(ctx: Workflow, task: Task, agent: Agent, own: Sequence[Message], key: str) -> Thought:
    """Asks the model of an agent; within a step. Raises NoAnswer, and what hooks raise.

    The conversation is read here and now, up to the message that is answered: so it costs the log nothing.
    """
    summary, lines = "", list[Line]()
    if task.session:
        summary, lines = await ctx.look(
            SESSION, task.session, "window", {"upto": task.upto, "limit": WINDOW}, type=tuple[str, list[Line]]
        )
    else:
        own = (Message("user", task.text), *own)
    tools = await agent.specs()
    instructions = asked_for(agent.instructions, tools) if task.plan else agent.instructions
    system = "\n\n".join(part for part in (instructions, summary and f"What was said before: {summary}") if part)
    taken = sum(_tokens(message) for message in own) + len(system) // CHARACTERS_A_TOKEN
    fitting = _fitting(lines, agent.context_tokens - taken)
    asked = (Message("user", task.text),) if task.plan and task.session else ()
    messages = (Message("system", system), *[line.message for line in fitting], *asked, *own)
    schema = schema_for(tools) if task.plan else None if agent.output is None else agent.output.schema
    request = ModelRequest(messages if system else messages[1:], () if task.plan else tuple(tools), schema)
    asking = Hooked("model.before", agent.name, task.session, ctx.command_id, key)
    answer = await _asked(ctx, agent, request, asking)
    first, last = (fitting[0].number, fitting[-1].number) if fitting else (0, 0)
    prompt = Prompt(first, last, len(own), bool(summary))
    return Thought(answer.message, answer.model, answer.finish, answer.usage, prompt)


async def _asked(ctx: Workflow, agent: Agent, request: ModelRequest, event: Hooked) -> Completion:
    """What the model answers, with the hooks around it. Its pieces are shown as they come."""
    hooks, event = agent.hooks, replace(event, name=agent.slot)
    request = _kept(await hooks.fire(replace(event, value=request)), ModelRequest, "before")
    try:
        answer = await _streamed(ctx, agent, request, event)
    except NoAnswer as error:
        late = any(isinstance(one, Unavailable) and one.late for one in error.failures)
        await hooks.fire(replace(event, point="model.timeout" if late else "model.error", value=str(error)))
        raise
    return _kept(await hooks.fire(replace(event, point="model.after", value=answer)), Completion, "after")


async def _streamed(ctx: Workflow, agent: Agent, request: ModelRequest, event: Hooked) -> Completion:
    hooks = agent.hooks
    async with aclosing(models().stream(agent.slot, request, agent.override)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Completion):
                return piece
            if isinstance(piece, Anew):
                ctx.unshow()
            else:
                ctx.show(_kept(await hooks.fire(replace(event, point="model.value", value=piece)), Delta, "value"))
    raise AssertionError("a stream ends with the whole answer, or raises")


def _kept(value: Any, type: type[T], moment: str) -> T:
    if not isinstance(value, type):
        raise BadResult(f"a hook {moment} a model gave {value!r}: it gives a {type.__name__}, or None")
    return value


def _fitting(lines: list[Line], tokens: int) -> list[Line]:
    """The last lines that have room, beginning with what a person said; the very last in any case."""
    kept: list[Line] = []
    for line in reversed(lines):
        tokens -= _tokens(line.message)
        if tokens < 0 and kept:
            break
        kept.append(line)
    kept.reverse()
    first = next((at for at, line in enumerate(kept) if line.message.role == "user"), 0)
    return kept[first:]


def _tokens(message: Message) -> int:
    calls = sum(len(call.arguments) + len(call.name) for call in message.tool_calls)
    return (len(message.content) + calls) // CHARACTERS_A_TOKEN + 4
