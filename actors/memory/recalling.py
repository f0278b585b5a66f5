"""What an agent is told of memory, within a budget.

    support = Agent("support", memory=Remembers(scopes=("user", "app"), budget_tokens=600))

Tiers, from what is nearest: the conversation's last messages (working), its summary (session), blocks that are always
told (core), and what is found for what was said (semantic, episodic, procedural), scope by scope as there is room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from actors.memory.items import Item, ItemKind, Scope, owner_key
from actors.memory.memory import KIND
from actors.memory.searching import Recalled
from actors.models.embedding import embedder, packed
from actors.models.model import ModelError
from actors.prompts.slots import About
from runtime import Workflow

if TYPE_CHECKING:
    from actors.agents.hooks import Hooked, Hooks

HEADING = "What is known from before:"


class Remembers(Struct, frozen=True):
    """How an agent uses memory.

    Attributes:
        scopes: whose memory it is told, in order: of the user who speaks, of the session, of the agent itself (`app`).
        budget_tokens: for all of that, about.
        kinds: of items; all of them by default.
        learns: whose memory what was said goes to once an answer has ended; None learns nothing.
        tools: whether the model may remember and recall of its own accord.
    """

    scopes: tuple[Scope, ...] = ("user", "session")
    budget_tokens: int = 800
    kinds: tuple[ItemKind, ...] | None = None
    learns: Scope | None = "user"
    tools: bool = True


def owner(scope: Scope, about: About) -> str | None:
    """The key of the memory of a scope; None where there is nobody whose it is."""
    name = {"user": about.user, "session": about.session, "app": about.agent}[scope]
    return owner_key(scope, name) if name else None


class Remembered(Struct, frozen=True):
    """What is told: the text of the slot, and the ids of the items by owner."""

    text: str
    items: dict[str, tuple[str, ...]]


async def remembered(ctx: Workflow, how: Remembers, about: About, hooks: Hooks, event: Hooked) -> Remembered:
    """What is told of memory about what was said; within a step. Hooks of `memory` see the text and the items."""
    text = str(await hooks.fire(replace(event, point="memory.before", name="recall", value=about.text)))
    vector, model = await _vector(text)
    room = how.budget_tokens
    blocks: list[str] = []
    found: list[tuple[str, Item]] = []
    for scope in how.scopes:
        key = owner(scope, about)
        if key is None or room <= 0:
            continue
        asked = {"text": text, "budget_tokens": room, "kinds": how.kinds, "vector": vector, "model": model}
        recalled = await ctx.look(KIND, key, "recall", asked, type=Recalled)
        room -= recalled.tokens
        blocks += [f"{name}: {said}" for name, said in recalled.blocks.items()]
        found += [(key, item) for item in recalled.items]
    items = [item for _, item in found]
    kept = await hooks.fire(replace(event, point="memory.after", name="recall", value=items))
    ids = {item.id for item in kept}
    said = blocks + [f"- {item.text}" for item in kept]
    used: dict[str, tuple[str, ...]] = {}
    for key, item in found:
        if item.id in ids:
            used[key] = (*used.get(key, ()), item.id)
    return Remembered("\n".join([HEADING, *said]) if said else "", used)


async def _vector(text: str) -> tuple[str, str]:
    one = embedder()
    if one is None or not text.strip():
        return "", ""
    try:
        return packed((await one.embed([text]))[0]), one.model
    except ModelError:
        return "", ""  # the memory finds by words, and says why
