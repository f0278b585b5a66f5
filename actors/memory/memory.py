"""The actor that remembers. Its key is the owner: `user/alice`, `session/s1`, `app/shop` (items.owner_key).

    await client.ask(memory, "user/alice", "store", {"text": "Alice is allergic to nuts", "meta": {"topic": "health"}})
    await client.query(memory, "user/alice", "search", {"text": "what can she eat?", "filters": {"topic": "health"}})

What is true is its events, vectors among them. What is searched are documents made of them (runtime.index), which may
be dropped at any time. Its state is what its decisions need: which items there are, and blocks that are always told.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.memory.items import RESERVED, Decision, ItemKind, Meta, Source
from actors.models.embedding import embedder, unpacked
from runtime import Rejected, Turn, entity
from runtime.index import Change, Document, Drop, Embed, Put

KIND = "memory"
EMBEDDING = "memory-embedding"
"""The kind of the workflow that gives items their vectors."""

MAX_ITEMS = 10_000
MAX_TEXT_BYTES = 16_384
MAX_META_BYTES = 4_096
MAX_BLOCKS = 16
MAX_BLOCK_BYTES = 4_096
MAX_DECISIONS = 100


class Memory(Struct, frozen=True, omit_defaults=True):
    """What its decisions need to know.

    Attributes:
        items: the ids of what is remembered, each with how often it has changed.
        numbered: ids handed out so far.
        blocks: short texts that are always told, by name.
    """

    items: dict[str, int] = {}
    numbered: int = 0
    blocks: dict[str, str] = {}


class Stored(Struct, frozen=True, omit_defaults=True):
    """Something is remembered, or is from now on this, under the same id. `vector` is packed (models.embedding)."""

    id: str
    text: str
    kind: ItemKind
    at: float
    meta: Meta = {}
    source: Source = Source()
    vector: str = ""
    model: str = ""


class Embedded(Struct, frozen=True):
    """An item has a vector."""

    id: str
    vector: str
    model: str


class Forgotten(Struct, frozen=True, omit_defaults=True):
    """An item is forgotten."""

    id: str
    why: str = ""


class BlockSet(Struct, frozen=True):
    """A block says this from now on; empty, it is gone."""

    name: str
    text: str


class Learned(Struct, frozen=True, omit_defaults=True):
    """What was decided of what a conversation said, without the vectors; each decision that changes something is an
    event of its own behind this one."""

    source: Source
    decisions: tuple[Decision, ...]


Event = Stored | Embedded | Forgotten | BlockSet | Learned


def apply(state: Memory, event: Event) -> Memory:
    """The fold."""
    match event:
        case Stored(id):
            items = state.items | {id: state.items.get(id, 0) + 1}
            number = int(id[1:]) if id[:1] == "m" and id[1:].isdecimal() and len(id) == ID_LENGTH else 0
            return replace(state, items=items, numbered=max(state.numbered, number))
        case Forgotten(id):
            return replace(state, items={one: times for one, times in state.items.items() if one != id})
        case BlockSet(name, text):
            rest = {one: kept for one, kept in state.blocks.items() if one != name}
            return replace(state, blocks=rest | {name: text} if text else rest)
        case Embedded() | Learned():
            return state


ID_LENGTH = 8
memory = entity(KIND, initial=Memory(), apply=apply, version="1")


@memory.index(version="1")
def documents(event: Event) -> list[Change]:
    """The documents of items: what they say, and by what they can be filtered."""
    match event:
        case Stored(id, text, kind, at, meta, source, vector, model):
            own = {"kind": kind, "at": at} | ({"session": source.session} if source.session else {})
            made = unpacked(vector) if vector else None
            return [Put(Document(id, text, {**meta, **own}, made, model))]
        case Embedded(id, vector, model):
            return [Embed(id, unpacked(vector), model)]
        case Forgotten(id):
            return [Drop(id)]
        case _:
            return []


class Wanting(Struct, frozen=True):
    """Items without a vector: id, and how often it has changed."""

    owner: str
    items: tuple[tuple[str, int], ...]


# -- remembering --------------------------------------------------------------------------------------------------


@memory.command
def store(
    state: Memory, ctx: Turn, text: str, kind: ItemKind = "semantic", meta: Meta | None = None, id: str = "",
    vector: str = "", model: str = "",
) -> Stored:  # fmt: skip
    """Remembers something, and gives its id. Under an id that is known it takes the place of what was there.

    `vector` is that of the text by `model`; without one it is made soon, where there is a model for it.
    """
    _check(text, meta or {})
    if id and (len(id) > 64 or not id.isprintable()):
        raise Rejected("an id has 1 to 64 printable characters")
    if id not in state.items and len(state.items) >= MAX_ITEMS:
        raise Rejected(f"memory {ctx.key} holds {MAX_ITEMS} items, which is the limit: forget some, or consolidate")
    stored = Stored(id or _id(state.numbered + 1), text, kind, ctx.now, meta or {}, vector=vector, model=model)
    return _remembered(state, ctx, stored)


@memory.command
def update(
    state: Memory, ctx: Turn, id: str, text: str, kind: ItemKind = "semantic", meta: Meta | None = None,
    vector: str = "", model: str = "",
) -> Stored:  # fmt: skip
    """Says something else in place of an item that is there."""
    _known(state, ctx, id)
    _check(text, meta or {})
    return _remembered(state, ctx, Stored(id, text, kind, ctx.now, meta or {}, vector=vector, model=model))


@memory.command
def forget(state: Memory, ctx: Turn, ids: list[str], why: str = "") -> list[Forgotten]:
    """Forgets items; the result is how many of these there were. Their events stay in the log (docs/operations.md)."""
    known = [id for id in dict.fromkeys(ids) if id in state.items]
    ctx.reply(len(known))
    return [Forgotten(id, why) for id in known]


@memory.command
def set_block(state: Memory, ctx: Turn, name: str, text: str) -> BlockSet | None:
    """Sets a block, which is told with every prompt: what must never be missing. Empty, it is taken away."""
    if not name or len(name) > 64:
        raise Rejected("a block's name has 1 to 64 characters")
    if len(text.encode()) > MAX_BLOCK_BYTES:
        raise Rejected(f"block {name!r} has more than {MAX_BLOCK_BYTES} bytes: remember the rest as items")
    if name not in state.blocks and len(state.blocks) >= MAX_BLOCKS:
        raise Rejected(f"memory {ctx.key} has {MAX_BLOCKS} blocks, which is the limit")
    return None if state.blocks.get(name, "") == text else BlockSet(name, text)


@memory.command
def learn(state: Memory, ctx: Turn, decisions: list[Decision], source: Source) -> list[Event]:
    """Does what was decided of what a conversation said. The result is the ids, in order; empty where nothing changed.

    What refers to an item that is gone by now is not done.
    """
    if len(decisions) > MAX_DECISIONS:
        raise Rejected(f"{MAX_DECISIONS} decisions at most are made at once")
    told = tuple(replace(one, vector="", model="") for one in decisions)
    events: list[Event] = [Learned(source, told)]
    changed: list[str] = []
    for one in decisions:
        event: Event | None = None
        if one.op == "DELETE" and one.id in state.items:
            event = Forgotten(one.id, one.why)
        elif one.op == "ADD" or (one.op == "UPDATE" and one.id in state.items):
            if one.op == "ADD" and len(state.items) >= MAX_ITEMS:
                continue
            _check(one.text, {})
            _check_vector(one.vector)
            id = one.id if one.op == "UPDATE" else _id(state.numbered + 1)
            event = Stored(id, one.text, one.kind, ctx.now, {}, source, one.vector, one.model)
        changed.append(getattr(event, "id", ""))
        if event is not None:
            events.append(event)
            state = apply(state, event)
    _have_embedded(state, ctx, [one for one in events if isinstance(one, Stored)])
    ctx.reply(changed)
    return events


@memory.command
def embedded(state: Memory, ctx: Turn, id: str, times: int, vector: str, model: str) -> Embedded | None:
    """Gives an item its vector, unless it has changed meanwhile; its `times` says how often it had."""
    if state.items.get(id) != times:
        return None
    if not vector:
        raise Rejected("that is no packed vector: it is empty")
    _check_vector(vector)
    return Embedded(id, vector, model)


@memory.command
def embed(state: Memory, ctx: Turn, ids: list[str]) -> None:
    """Has vectors made of items anew, as after another model was chosen. The result is of how many."""
    known = tuple((id, state.items[id]) for id in dict.fromkeys(ids) if id in state.items)
    ctx.reply(len(known))
    if known:
        ctx.tell(EMBEDDING, ctx.command_id, "run", Wanting(ctx.key, known))


def _remembered(state: Memory, ctx: Turn, stored: Stored) -> Stored:
    _check_vector(stored.vector)
    _have_embedded(apply(state, stored), ctx, [stored])
    ctx.reply(stored.id)
    return stored


def _have_embedded(state: Memory, ctx: Turn, stored: list[Stored]) -> None:
    """`state` is the one behind these."""
    without = tuple((one.id, state.items[one.id]) for one in stored if not one.vector and one.id in state.items)
    if without and embedder() is not None:
        ctx.tell(EMBEDDING, ctx.command_id, "run", Wanting(ctx.key, without))


def _id(number: int) -> str:
    return f"m{number:07d}"


def _known(state: Memory, ctx: Turn, id: str) -> None:
    if id not in state.items:
        raise Rejected(f"memory {ctx.key} has no item {id!r}")


def _check_vector(vector: str) -> None:
    try:
        if vector:
            unpacked(vector)
    except ValueError as error:
        raise Rejected(f"that is no packed vector: {error}") from error


def _check(text: str, meta: Meta) -> None:
    if not text.strip():
        raise Rejected("there is nothing to remember: the text is empty")
    if "\0" in text:
        raise Rejected("the text holds a NUL, which the log cannot keep")
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise Rejected(f"an item has at most {MAX_TEXT_BYTES} bytes")
    if len(msgspec.json.encode(meta)) > MAX_META_BYTES:
        raise Rejected(f"an item's metadata has at most {MAX_META_BYTES} bytes")
    if taken := [name for name in RESERVED if name in meta]:
        raise Rejected(f"{', '.join(taken)} in the metadata is memory's own: call it otherwise")
