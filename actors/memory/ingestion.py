"""Learning from a conversation, beside it: a run that finds facts, compares them with what is known, and decides.

    extract   the model of the slot `extract` is asked what is worth remembering
    decide    the model of the slot `verify` is told what is known already, and says ADD, UPDATE, DELETE or NOOP of each
    embed     the vectors of what is new
    learn     the memory does all of it in one commit, with every decision in its log

Each is recorded before the next begins: a run that is cut off asks nobody again. Without a fleet rules.py decides.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.memory.items import Decision, Item, ItemKind, Op, Source
from actors.memory.memory import KIND, MAX_DECISIONS
from actors.memory.rules import Fact, decided, facts
from actors.memory.searching import Found
from actors.models.current import models
from actors.models.embedding import embedder, packed
from actors.models.fleet import OFFLINE, Slot
from actors.models.wire import Message, ModelRequest
from actors.sessions.session import INGESTION, Ingest
from actors.sessions.transcript import Line
from runtime import Workflow, workflow
from runtime.policy import RetryPolicy
from schemas.conversation import KIND as SESSION

NEIGHBOURS = 5
"""Items that are shown beside a fact."""

TRIES = RetryPolicy(max_attempts=4, first_delay_s=1.0)
MAX_CHARACTERS = 16_000

EXTRACT = (
    "Name what is worth remembering of the user from this conversation, for later ones: lasting facts (semantic), what "
    "has happened (episodic), and how they want things done (procedural). One short sentence each, complete by itself. "
    "Nothing that only matters now; an empty list is a good answer. What they ask to forget is a fact with forget=true."
)
DECIDE = (
    "For each new fact decide what becomes of the memory: ADD it, UPDATE the known item that it replaces or completes "
    "(give its id and the whole new text), DELETE the item that it revokes (give its id), or NOOP when it is known."
)


class Extracted(Struct, frozen=True):
    """What the model of `extract` answers with."""

    facts: list[Fact]


class _Decided(Struct, frozen=True, omit_defaults=True):
    op: str
    text: str = ""
    id: str = ""
    kind: ItemKind = "semantic"
    why: str = ""


class Answered(Struct, frozen=True):
    """What the model of `verify` answers with, one for each fact."""

    decisions: list[_Decided]


@workflow(INGESTION)
async def ingestion(ctx: Workflow, ingest: Ingest) -> list[str]:
    """Learns from some messages of a session into a memory; gives the ids of items that it changed."""

    async def extract(session: str, first: int, last: int) -> list[Fact]:
        asked = {"after": first - 1, "limit": last - first + 1, "forgotten": True}
        lines = await ctx.look(SESSION, session, "history", asked, type=list[Line])
        if _offline("extract"):
            return facts([line.message.content for line in lines if line.message.role == "user"])
        said = "\n".join(f"{one.message.role}: {one.message.content}" for one in lines if one.message.content)
        extracted: Extracted = await _asked("extract", EXTRACT, said[-MAX_CHARACTERS:], Extracted)
        return extracted.facts[:MAX_DECISIONS]

    async def decide(owner: str) -> list[Decision]:
        known = [
            (await ctx.look(KIND, owner, "search", {"text": one.text, "limit": NEIGHBOURS}, type=Found)).items
            for one in found
        ]
        if _offline("verify"):
            return [decided(fact, items) for fact, items in zip(found, known, strict=True)]
        items = {item.id: item for each in known for item in each}
        return await _decisions(found, items)

    async def embed(_: str) -> list[Decision]:
        one = embedder()
        texts = [each.text for each in decisions if each.op in ("ADD", "UPDATE")]
        if one is None or not texts:
            return decisions
        vectors = iter(await one.embed(texts))
        return [
            replace(each, vector=packed(next(vectors)), model=one.model) if each.op in ("ADD", "UPDATE") else each
            for each in decisions
        ]

    first, last, owner = ingest.first, ingest.last, ingest.owner
    found: list[Fact] = await ctx.step(
        "extract", extract, ingest.session, first, last, returns=list[Fact], retry=TRIES
    )
    found = [fact for fact in found if fact.text.strip()]
    if not found:
        return []
    decisions: list[Decision] = await ctx.step("decide", decide, owner, returns=list[Decision], retry=TRIES)
    ready = await ctx.step("embed", embed, owner, returns=list[Decision], retry=TRIES)
    source = Source(ingest.session, first, last, ctx.command_id)
    changed = await ctx.ask(KIND, owner, "learn", {"decisions": ready, "source": source}, type=list[str])
    return [id for id in changed if id]


async def _decisions(found: list[Fact], items: dict[str, Item]) -> list[Decision]:
    """What the model decides. What refers to no item that it was shown is NOOP, and says so."""
    known = "\n".join(f"{id}: {item.text}" for id, item in items.items()) or "nothing"
    new = "\n".join(f"- {'forget: ' if fact.forget else ''}{fact.text} ({fact.kind})" for fact in found)
    answer = await _asked("verify", DECIDE, f"Known items:\n{known}\n\nNew facts:\n{new}", Answered)
    decisions = []
    for one in answer.decisions[:MAX_DECISIONS]:
        op = one.op.upper()
        refers = op in ("UPDATE", "DELETE")
        if op not in ("ADD", "UPDATE", "DELETE", "NOOP") or (refers and one.id not in items):
            text = f"the model said {one.op!r} of {one.id!r}, which it was not shown"
            decisions.append(Decision("NOOP", one.text, why=text))
        elif op in ("ADD", "UPDATE") and not one.text.strip():
            decisions.append(Decision("NOOP", id=one.id, why="the model gave no text"))
        else:
            decisions.append(Decision(cast("Op", op), one.text, one.id, one.kind, one.why))
    return decisions


def _offline(slot: Slot) -> bool:
    return models().fleet.settings(slot).model == OFFLINE


async def _asked(slot: Slot, instructions: str, text: str, shape: type[Any]) -> Any:
    """The model's answer as `shape`. Raises NoAnswer, and ValidationError for another shape: it is asked again."""
    schema = msgspec.json.schema(shape)
    form = msgspec.json.encode(schema).decode()
    told = f"{instructions}\nAnswer with JSON alone that conforms to this schema: {form}"
    request = ModelRequest((Message("system", told), Message("user", text)), json_schema=schema)
    answer = (await models().complete(slot, request)).message.content.strip()
    return msgspec.json.decode(answer.removeprefix("```json").removeprefix("```").removesuffix("```"), type=shape)
