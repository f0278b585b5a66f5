"""A summary in place of what is forgotten: a run that asks the model of the slot `summarize` once, and prunes with it.

    await client.ask(summing_up, "s1", "run", {"keep": 20})

The key is the session's. Without a fleet the first sentences stand for the messages, and the summary says so.
"""

from __future__ import annotations

import re

from msgspec import Struct

from actors.models.current import models
from actors.models.fleet import OFFLINE
from actors.models.wire import Message, ModelRequest
from actors.sessions.pruning import How
from actors.sessions.session import Status
from actors.sessions.transcript import Line
from runtime import Workflow, workflow
from runtime.policy import RetryPolicy
from schemas.conversation import KIND

SUMMARY = "session-summary"
MAX_LINES = 400
"""Messages of which one summary is made; of more, the last ones."""

MAX_CHARACTERS = 24_000
MAX_OFFLINE = 1_500
INSTRUCTIONS = (
    "Sum up the conversation below in at most 200 words, for an assistant that goes on with it: who is who, what was "
    "decided, what is open, and exact names, numbers and dates. What was summed up before is part of it."
)
TRIES = RetryPolicy(max_attempts=3, first_delay_s=1.0)

_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")


class Summing(Struct, frozen=True, omit_defaults=True):
    """How many of the last messages stay, and by which rule."""

    keep: int = 50
    how: How = "sliding_window"


class Sum(Struct, frozen=True):
    """What a summary was made of: so many messages had been said. Empty when there was nothing to sum up."""

    summary: str
    said: int


@workflow(SUMMARY, on_existing="replace")
async def summing_up(ctx: Workflow, summing: Summing) -> int:
    """Sums up and prunes the session of this run's key; gives how many messages were forgotten."""

    async def make(keep: int) -> Sum:
        state = await ctx.look(KIND, ctx.key, "status", type=Status)
        upto = state.said - keep
        if upto < 1:
            return Sum("", state.said)
        asked = {"upto": upto, "limit": MAX_LINES}
        before, lines = await ctx.look(KIND, ctx.key, "before", asked, type=tuple[str, list[Line]])
        return Sum(await _summary(before, lines) if lines else "", state.said)

    made: Sum = await ctx.step("summary", make, summing.keep, returns=Sum, retry=TRIES)
    if not made.summary:
        return 0
    given = {"how": summing.how, "keep": summing.keep, "summary": made.summary, "said": made.said}
    return int(await ctx.ask(KIND, ctx.key, "prune", given))


async def _summary(before: str, lines: list[Line]) -> str:
    said = [f"{one.message.role}: {one.message.content}" for one in lines if one.message.content]
    if models().fleet.settings("summarize").model == OFFLINE:
        return _offline(before, lines)
    text = "\n".join(said)[-MAX_CHARACTERS:]
    whole = f"What was summed up before: {before}\n\n{text}" if before else text
    request = ModelRequest((Message("system", INSTRUCTIONS), Message("user", whole)), max_tokens=500)
    return (await models().complete("summarize", request)).message.content.strip()


def _offline(before: str, lines: list[Line]) -> str:
    """The first sentence of each thing that a person said, the last ones that have room."""
    firsts = [_SENTENCE.search(one.message.content) for one in lines if one.message.role == "user"]
    said = [before.removeprefix(_MARK).strip(), *[found.group().strip() for found in firsts if found is not None]]
    text = " ".join(one for one in said if one)
    return f"{_MARK} {text[-MAX_OFFLINE:].strip()}"


_MARK = "[offline summary]"
