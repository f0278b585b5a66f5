"""One question to a model: what it is told of a conversation, and what of that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from actors.agents.hooks import Hooked
from actors.agents.planning import asked_for, schema_for
from actors.memory.recalling import remembered
from actors.models.current import models
from actors.models.model import NoAnswer, Unavailable
from actors.models.wire import Anew, Completion, Delta, Message, ModelRequest, Usage
from actors.prompts.record import Known, Prompt, recorded
from actors.prompts.slots import About, PromptSlot, counter, lay, through
from actors.sessions.session import Task
from actors.sessions.transcript import Line
from runtime import Workflow
from runtime.errors import BadResult
from schemas.conversation import KIND as SESSION

if TYPE_CHECKING:
    from actors.agents.agent import Agent

T = TypeVar("T")

WINDOW = 200
"""Messages of a session that are looked at for a prompt, at most."""

MOST_SHOWN = 65_536
"""Characters of a piece that is shown on its way; of a longer one only the whole answer tells."""

MEMORY_SLOT = "memory"


class Thought(Struct, frozen=True, omit_defaults=True):
    """What a step that asks a model results in."""

    message: Message
    model: str
    finish: str
    usage: Usage
    prompt: Prompt


async def think(ctx: Workflow, task: Task, agent: Agent, own: Sequence[Message], key: str, known: Known) -> Thought:
    """Asks the model of an agent; within a step. Raises NoAnswer, and what hooks and middleware raise.

    The conversation is read here and now, up to the message that is answered: so it costs the log nothing. `known` is
    what the calls before have recorded.
    """
    event = Hooked("model.before", agent.name, task.session, ctx.command_id, key)
    summary, lines = "", list[Line]()
    if task.session:
        summary, lines = await ctx.look(
            SESSION, task.session, "window", {"upto": task.upto, "limit": WINDOW}, type=tuple[str, list[Line]]
        )
    if task.plan or not task.session:  # what is to be answered is no message of the session
        own = (Message("user", task.text), *own)
    tools = await agent.specs()
    slots, memories = await _slots(ctx, task, agent, known, event)
    slots[0] = replace(slots[0], text=asked_for(agent.instructions, tools) if task.plan else agent.instructions)
    slots.append(PromptSlot("summary", summary and f"What was said before: {summary}", 70, "end"))
    about = About(agent.name, task.session, ctx.command_id, task.text, ctx.turn.principal)
    slots = await through(agent.middleware, slots, about)
    model = str(models().fleet.settings(agent.slot, agent.override).model)
    count = counter(model, sum(len(line.message.content) for line in lines), agent.context_tokens)
    laid = lay(slots, lines, own, agent.context_tokens, count)
    messages = (Message("system", laid.system), *[line.message for line in laid.lines], *own)
    schema = schema_for(tools) if task.plan else None if agent.output is None else agent.output.schema
    request = ModelRequest(messages if laid.system else messages[1:], () if task.plan else tuple(tools), schema)
    sent, answer = await _asked(ctx, agent, request, event)
    prompt = recorded(known, agent.name, laid.slots, laid.lines, own, request, sent)
    prompt = replace(prompt, cut=laid.cut, memories=memories)
    return Thought(answer.message, answer.model, answer.finish, answer.usage, prompt)


async def _slots(
    ctx: Workflow, task: Task, agent: Agent, known: Known, event: Hooked
) -> tuple[list[PromptSlot], dict[str, tuple[str, ...]]]:
    """The slots of an agent, the instructions first, and what was recalled for them; that is done once a run."""
    slots = [PromptSlot("instructions", agent.instructions, 100, "never"), *agent.slots]
    if agent.memory is None:
        return slots, {}
    if agent.name == known.agent:
        text, memories = known.slots.get(MEMORY_SLOT, ""), dict[str, tuple[str, ...]]()
    else:
        about = About(agent.name, task.session, ctx.command_id, task.text, ctx.turn.principal)
        found = await remembered(ctx, agent.memory, about, agent.hooks, event)
        text, memories = found.text, found.items
    return [*slots, PromptSlot(MEMORY_SLOT, text, 80, "end")], memories


async def _asked(
    ctx: Workflow, agent: Agent, request: ModelRequest, event: Hooked
) -> tuple[ModelRequest, Completion]:
    """What the model was asked and answers, with the hooks around it. Its pieces are shown as they come."""
    hooks, event = agent.hooks, replace(event, name=agent.slot)
    request = _kept(await hooks.fire(replace(event, value=request)), ModelRequest, "before")
    try:
        answer = await _streamed(ctx, agent, request, event)
    except NoAnswer as error:
        late = any(isinstance(one, Unavailable) and one.late for one in error.failures)
        await hooks.fire(replace(event, point="model.timeout" if late else "model.error", value=str(error)))
        raise
    return request, _kept(await hooks.fire(replace(event, point="model.after", value=answer)), Completion, "after")


async def _streamed(ctx: Workflow, agent: Agent, request: ModelRequest, event: Hooked) -> Completion:
    hooks = agent.hooks
    async with aclosing(models().stream(agent.slot, request, agent.override)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Completion):
                return piece
            if isinstance(piece, Anew):
                ctx.unshow()
            else:
                seen = _kept(await hooks.fire(replace(event, point="model.value", value=piece)), Delta, "value")
                if _length(seen) <= MOST_SHOWN:
                    ctx.show(seen)
    raise AssertionError("a stream ends with the whole answer, or raises")


def _length(piece: Delta) -> int:
    call = 0 if piece.call is None else len(piece.call.id) + len(piece.call.name) + len(piece.call.arguments)
    return len(piece.text) + len(piece.reasoning) + call


def _kept(value: Any, type: type[T], moment: str) -> T:
    if not isinstance(value, type):
        raise BadResult(f"a hook {moment} a model gave {value!r}: it gives a {type.__name__}, or None")
    return value
