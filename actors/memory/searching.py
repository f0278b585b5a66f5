"""What may be asked of a memory. Imported for its effect: the queries are methods of the kind."""

from __future__ import annotations

import logging

from msgspec import Struct

from actors.memory.items import ITEM_KINDS, Item, ItemKind
from actors.memory.memory import Memory, memory
from actors.models.embedding import Vector, embedder, unpacked
from actors.models.fleet import CHARACTERS_A_TOKEN
from actors.models.model import ModelError
from runtime import Rejected, Turn
from runtime.index import Compared, Scalar, Wanted

_log = logging.getLogger("troupe.memory")

Filters = dict[str, Scalar | Compared]

WORDS_ONLY = "no model makes vectors here (the fleet names none as `embed`): found by words alone"
NO_EXTENSION = "the database has not the extension `vector`: found by words alone"
MAX_RECALLED = 100


class Found(Struct, frozen=True, omit_defaults=True):
    """What a search comes to, the best first.

    Attributes:
        semantic: whether it was also searched by likeness.
        note: why not.
    """

    items: list[Item]
    semantic: bool = False
    note: str = ""


class Recalled(Struct, frozen=True, omit_defaults=True):
    """What is told of a memory within a budget: its blocks by name, then the items that fit best.

    Attributes:
        tokens: about how many it has.
        left_out: items that fit, and for which there was no room.
    """

    blocks: dict[str, str]
    items: list[Item]
    tokens: int = 0
    left_out: int = 0
    semantic: bool = False
    note: str = ""


@memory.query
async def search(
    state: Memory, ctx: Turn, text: str, filters: Filters | None = None, limit: int = 10, min_likeness: float = 0.0,
    vector: str = "", model: str = "",
) -> Found:  # fmt: skip
    """The items that have to do with a text: by its words and by likeness, the two fused.

    `filters` say what an item's metadata equals, holds or is compared with. `vector` is that of the text by `model`, if
    it is known already. An item is found as soon as it is stored, by likeness once it has its vector.
    """
    if not text.strip():
        raise Rejected("there is nothing to search for: the text is empty")
    made, by, note = await _vector(text, vector, model)
    wanted = Wanted(text, made, by, filters or {}, limit, min_likeness)
    found = [Item.of(hit) for hit in await ctx.reading.search(wanted)]
    if made is not None and not ctx.reading.semantic:
        made, note = None, NO_EXTENSION
    return Found(found, made is not None, note)


@memory.query
async def recall(
    state: Memory, ctx: Turn, text: str, budget_tokens: int = 1000, kinds: list[ItemKind] | None = None,
    vector: str = "", model: str = "",
) -> Recalled:  # fmt: skip
    """What a prompt is told of this memory about a text: blocks first, then items as long as there is room."""
    blocks: dict[str, str] = {}
    tokens = 0
    for name, said in state.blocks.items():
        if tokens + tokens_of(said) <= budget_tokens:
            blocks[name] = said
            tokens += tokens_of(said)
    if not text.strip() or not state.items:
        return Recalled(blocks, [], tokens)
    filters: Filters = {} if kinds is None else {"kind": Compared(among=tuple(kinds))}
    found = await search(state, ctx, text, filters, MAX_RECALLED, 0.0, vector, model)
    items: list[Item] = []
    for item in found.items:
        if tokens + tokens_of(item.text) > budget_tokens:
            break
        items.append(item)
        tokens += tokens_of(item.text)
    return Recalled(blocks, items, tokens, len(found.items) - len(items), found.semantic, found.note)


@memory.query(name="list")
async def list_items(
    state: Memory, ctx: Turn, after: str = "", limit: int = 100, filters: Filters | None = None
) -> list[Item]:
    """At most `limit` items behind an id, by id."""
    return [Item.of(hit) for hit in await ctx.reading.search(Wanted(filters=filters or {}, limit=limit, after=after))]


@memory.query
async def get(state: Memory, ctx: Turn, ids: list[str]) -> list[Item]:
    """The items of these ids that there are, by id."""
    return [Item.of(hit) for hit in await ctx.reading.documents(ids)]


@memory.query
def about(state: Memory) -> dict[str, int | dict[str, str]]:
    """How many items there are, and the blocks."""
    return {"items": len(state.items), "blocks": state.blocks}


def tokens_of(text: str) -> int:
    """About how many tokens a line of the prompt with this text has."""
    return len(text) // CHARACTERS_A_TOKEN + 4


async def _vector(text: str, vector: str, model: str) -> tuple[Vector | None, str, str]:
    """(vector, model, why there is none)."""
    if vector:
        try:
            return unpacked(vector), model, ""
        except ValueError as error:
            raise Rejected(f"that is no packed vector: {error}") from error
    one = embedder()
    if one is None:
        return None, "", WORDS_ONLY
    try:
        return (await one.embed([text]))[0], one.model, ""
    except ModelError as error:  # words are better than nothing
        _log.warning("a search goes by words alone: %s", error)
        return None, "", f"found by words alone: {error}"


__all__ = ["ITEM_KINDS", "Found", "Recalled"]
