"""Gives items their vectors: a run that asks the model once, and has its answer in its journal."""

from __future__ import annotations

from msgspec import Struct

from actors.memory.items import Item
from actors.memory.memory import EMBEDDING, KIND, Wanting
from actors.models.embedding import embedder, packed
from runtime import Workflow, workflow
from runtime.policy import RetryPolicy

TRIES = RetryPolicy(max_attempts=6, first_delay_s=1.0)


class Made(Struct, frozen=True):
    """A vector that was made of an item."""

    id: str
    times: int
    vector: str
    model: str


@workflow(EMBEDDING)
async def embedding(ctx: Workflow, wanting: Wanting) -> int:
    """Makes the vectors of some items of an owner; gives of how many."""

    async def make(owner: str) -> list[Made]:
        one = embedder()
        if one is None:
            return []
        times = dict(wanting.items)
        items = await ctx.look(KIND, owner, "get", {"ids": list(times)}, type=list[Item])
        vectors = await one.embed([item.text for item in items]) if items else []
        return [
            Made(item.id, times[item.id], packed(vector), one.model)
            for item, vector in zip(items, vectors, strict=True)
        ]

    made = await ctx.step("embed", make, wanting.owner, returns=list[Made], retry=TRIES)
    for each in made:
        await ctx.ask(KIND, wanting.owner, "embedded", each)
    return len(made)
