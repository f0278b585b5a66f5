"""Making one of what says the same: a run over all items of an owner.

    await client.ask(consolidation, "user/alice", "run", {})

Of items whose words, or vectors, are nearly the same the newest stays, and says what it says; the others are deleted,
each with a decision in the memory's log.
"""

from __future__ import annotations

from msgspec import Struct

from actors.memory.items import Decision, Item, Source
from actors.memory.memory import KIND, MAX_DECISIONS
from actors.memory.rules import ALIKE, alike
from actors.memory.searching import Found
from runtime import Workflow, workflow

CONSOLIDATION = "memory-consolidation"
PAGE = 200
NEIGHBOURS = 8


class Consolidating(Struct, frozen=True, omit_defaults=True):
    """How alike two items are that say the same: the cosine of their vectors, where they have any."""

    likeness: float = 0.95


@workflow(CONSOLIDATION, on_existing="replace")
async def consolidation(ctx: Workflow, how: Consolidating) -> int:
    """Consolidates the memory of this run's key; gives how many items it has deleted."""

    async def find(after: str) -> tuple[str, list[Decision]]:
        """The end of a page, and what is to become of its items."""
        items = await ctx.look(KIND, ctx.key, "list", {"after": after, "limit": PAGE}, type=list[Item])
        decisions: list[Decision] = []
        for item in items:
            asked = {"text": item.text, "limit": NEIGHBOURS}
            near = (await ctx.look(KIND, ctx.key, "search", asked, type=Found)).items
            same = next((one for one in near if one.meta["at"] >= item.meta["at"] and _same(item, one, how)), None)
            if same is not None:
                decisions.append(Decision("DELETE", id=item.id, why=f"{same.id} says the same"))
        return items[-1].id if len(items) == PAGE else "", decisions

    after, deleted = "", 0
    while True:
        after, decisions = await ctx.step("find", find, after, returns=tuple[str, list[Decision]])
        for at in range(0, len(decisions), MAX_DECISIONS):
            source = Source(run=ctx.command_id)
            given = {"decisions": decisions[at : at + MAX_DECISIONS], "source": source}
            deleted += len([id for id in await ctx.ask(KIND, ctx.key, "learn", given, type=list[str]) if id])
        if not after:
            return deleted


def _same(item: Item, other: Item, how: Consolidating) -> bool:
    """Whether another item, as new or newer, says what an item says. Of two of one time the later id stays."""
    if (other.meta["at"], other.id) <= (item.meta["at"], item.id) or other.kind != item.kind:
        return False
    near = other.likeness is not None and other.likeness >= how.likeness
    return near or alike(item.text, other.text) >= ALIKE
