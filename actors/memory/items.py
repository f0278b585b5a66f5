"""What is remembered: items, where they come from, and what is decided of them."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Literal, get_args

from msgspec import Struct

from runtime.index import Hit, Scalar
from schemas.address import BadAddress, encode_token

ItemKind = Literal["semantic", "episodic", "procedural"]
"""What holds (`semantic`), what has happened (`episodic`), and how something is to be done (`procedural`)."""

ITEM_KINDS: tuple[ItemKind, ...] = get_args(ItemKind)

Op = Literal["ADD", "UPDATE", "DELETE", "NOOP"]

Scope = Literal["user", "session", "app"]

RESERVED = ("kind", "at", "session")
"""Names in an item's metadata that are memory's own; they can be filtered by like the others."""

Meta = dict[str, Scalar | list[Scalar]]


class Source(Struct, frozen=True, omit_defaults=True):
    """Where an item comes from: a session's messages, and the run of the ingestion that learned it."""

    session: str = ""
    first: int = 0
    last: int = 0
    run: str = ""


class Item(Struct, frozen=True, omit_defaults=True):
    """Something that is remembered.

    Attributes:
        meta: the owner's own values, and kind, at (Unix seconds) and session.
        score: how well it fits what was searched for; larger is better, and 0 for what was only listed.
        likeness: the cosine of its vector and that of what was searched for.
        model: the one that made its vector; empty while it has none.
    """

    id: str
    text: str
    meta: dict[str, Any] = {}
    score: float = 0.0
    likeness: float | None = None
    model: str = ""

    @property
    def kind(self) -> ItemKind:
        """Its kind."""
        return self.meta.get("kind", "semantic")  # type: ignore[no-any-return]  # it was checked when it was stored

    @classmethod
    def of(cls, hit: Hit) -> Item:
        """The item that was found."""
        return cls(hit.id, hit.text, hit.meta, hit.score, hit.likeness, hit.model)


class Decision(Struct, frozen=True, omit_defaults=True):
    """What is to become of something that was learned.

    Attributes:
        id: of the item that is updated or deleted, or that says it already (NOOP).
        vector, model: of the text, where there is a model that makes them.
    """

    op: Op
    text: str = ""
    id: str = ""
    kind: ItemKind = "semantic"
    why: str = ""
    vector: str = ""
    model: str = ""


def owner_key(scope: Scope, name: str) -> str:
    """The key of the memory of a user, a session or an application, however long the name is."""
    key = f"{scope}/{name}"
    try:
        encode_token(key)
    except BadAddress:
        return f"{scope}/{blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
    return key
