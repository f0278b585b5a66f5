"""The model of the agents under load: what it says follows from what it is told, and from nothing else.

A message to an agent is a plan (as JSON): rounds of tool calls, and then an answer. The model calls the tools of a
round, and answers with what it was told of them, and of the message before this one. It says so in pieces, with pauses
in which faults fall, and leaves a line outside each time that it is asked (outside.py).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence

import msgspec
from msgspec import Struct

from actors.models.fleet import tokens_of
from actors.models.model import Target
from actors.models.wire import Completion, Delta, Message, ModelRequest, ToolCall, Usage
from tests.chaos.outside import note

PIECE_S = 0.04
"""Between two pieces."""

MARK, ADD, HAND_OFF = "mark", "counter_add", "transfer_to_keeper"
"""The tools: one of the agent's own, another actor's method, and the end of its part."""

_PIECE = re.compile(r"\S+\s*")


class Call(Struct, frozen=True, omit_defaults=True):
    """A tool call of a plan; `key` and `amount` are of additions."""

    tool: str
    key: str = ""
    amount: int = 0


class Plan(Struct, frozen=True):
    """What a message has an agent do. `command` is `<tenant>/<command id>` of the message."""

    command: str
    rounds: tuple[tuple[Call, ...], ...] = ()


def plan_of(text: str) -> Plan:
    """The plan that a message is."""
    return msgspec.json.decode(text, type=Plan)


def model_step(number: int) -> str:
    """What lines outside call the run's model call of that number, from 1."""
    return f"model-{number}"


def mark_step(number: int, place: int) -> str:
    """What they call the tool call at that place of what the model wanted, both from 1."""
    return f"{MARK}-{number}.{place}"


def pieces_of(text: str) -> list[str]:
    """The pieces in which the model says something."""
    return _PIECE.findall(text)


def answer(messages: Sequence[Message]) -> Message:
    """What the model says to a conversation; who says it is the agent's business."""
    said = [number for number, message in enumerate(messages) if message.role == "user"]
    plan, own = plan_of(messages[said[-1]].content), messages[said[-1] + 1 :]
    done = sum(message.role == "assistant" for message in own)
    if done < len(plan.rounds):
        calls = tuple(
            ToolCall(f"{done + 1}.{place}", call.tool, _arguments(call, plan, mark_step(done + 1, place)))
            for place, call in enumerate(plan.rounds[done], 1)
        )
        return Message("assistant", f"{plan.command} goes on with round {done + 1}", calls)
    before = plan_of(messages[said[-2]].content).command if len(said) > 1 else "nothing"
    results = "; ".join(message.content for message in own if message.role == "tool")
    return Message("assistant", f"{plan.command} is done, behind {before}: {results}")


class Rote:
    """See the module."""

    async def stream(self, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
        """See Model. Never fails."""
        message = answer(request.messages)
        _note(request.messages)
        for piece in pieces_of(message.content):
            await asyncio.sleep(PIECE_S)
            yield Delta(piece)
        finish = "tool_calls" if message.tool_calls else "stop"
        yield Completion(message, target.model, finish, Usage(tokens_of(request), len(message.content), 0.0))


def _note(messages: Sequence[Message]) -> None:
    """That the model is asked, and that what it is told of was there before."""
    first = max(number for number, message in enumerate(messages) if message.role == "user")
    command = plan_of(messages[first].content).command
    asked = place = 0
    for message in messages[first + 1 :]:
        if message.role == "assistant":
            asked, place = asked + 1, 0
            note("had", command, model_step(asked))
        else:
            place += 1
            if message.name == MARK:
                note("had", command, mark_step(asked, place))
    note("ran", command, model_step(asked + 1))


def _arguments(call: Call, plan: Plan, step: str) -> str:
    given = {MARK: {"command": plan.command, "step": step}, ADD: {"key": call.key, "amount": call.amount}}
    return msgspec.json.encode(given.get(call.tool, {})).decode()
