"""Indexes: documents that an entity's events are turned into, found by their words, by vectors, or by both.

    @note.index(version="1")
    def documents(event: NoteEvent) -> list[Change]:
        match event:
            case Written(id, text):
                return [Put(Document(id, text))]
            case Torn(id):
                return [Drop(id)]

    @note.query
    async def search(state: Notes, ctx: Turn, text: str) -> list[Hit]:
        return await ctx.reading.search(Wanted(text=text))

An index is a projection of the log: each actor's documents follow its events, up to the last one when they are asked
for, and may be dropped at any time: whoever asks next has them made again, the same. `version` names the function; when
it is another one, the documents are made anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from runtime.kind import StoredEvent

RANK_CONSTANT = 60
"""Of reciprocal rank fusion, as its authors have it (Cormack, Clarke, Büttcher 2009)."""

CANDIDATES = 50
"""Documents of each half that are fused, at least; four times as many as are wanted otherwise."""

MAX_PAGE = 1000
MAX_FILTERS, MAX_AMONG = 64, 256
NUL = "\0"
"""Within JSON the log keeps it; Postgres takes it neither in a text nor in jsonb."""

Scalar = str | int | float | bool


class Document(Struct, frozen=True, omit_defaults=True):
    """What is found.

    Attributes:
        meta: what it can be filtered by.
        vector: of the text, by the model of that name; without one it is found by its words alone.
    """

    id: str
    text: str
    meta: dict[str, Any] = {}
    vector: tuple[float, ...] | None = None
    model: str = ""


class Put(Struct, frozen=True):
    """The document is there, in place of another one of its id."""

    document: Document


class Drop(Struct, frozen=True):
    """It is gone."""

    id: str


class Embed(Struct, frozen=True):
    """It has this vector, if it is there."""

    id: str
    vector: tuple[float, ...]
    model: str


Change = Put | Drop | Embed


class Index(NamedTuple):
    """How a kind's events become documents.

    `changes` is a pure function of one event, `version` its name; `read` gives the event of what is stored.
    """

    changes: Callable[[Any], Sequence[Change]]
    version: str
    read: Callable[[StoredEvent], Any]


class Compared(Struct, frozen=True, forbid_unknown_fields=True):
    """A condition on a value of `meta`: each of those that are given. `among`: one of these."""

    eq: Scalar | None = None
    among: tuple[Scalar, ...] | None = None
    gt: Scalar | None = None
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None


Filters = Mapping[str, Scalar | Compared]
"""By name of a value of `meta`: what it equals (of a list: what it holds), or how it compares."""


class Wanted(Struct, frozen=True):
    """What is searched for. Without text and vector: all that fit the filters, by id.

    Attributes:
        text: its words, of which a document has at least one.
        vector, model: by likeness to it, among the vectors of this model.
        min_likeness: the least cosine of what is found by its vector, -1 to 1.
        after: without text and vector, the id behind which the page begins.
    """

    text: str = ""
    vector: tuple[float, ...] | None = None
    model: str = ""
    filters: dict[str, Scalar | Compared] = {}
    limit: int = 10
    min_likeness: float = 0.0
    after: str = ""


class Hit(Struct, frozen=True, omit_defaults=True):
    """A document that was found.

    Attributes:
        seq: of the event that made it what it is.
        score: of the fusion of both halves, larger is better; 0 for what was only listed.
        by_text: its place among those found by words, from 1; None when it was not.
        likeness: the cosine of its vector and the wanted one.
    """

    id: str
    text: str
    meta: dict[str, Any]
    seq: int
    model: str = ""
    score: float = 0.0
    by_text: int | None = None
    by_vector: int | None = None
    likeness: float | None = None


class Numbered(NamedTuple):
    """A change with the sequence of its event."""

    seq: int
    change: Change


class IndexStore(Protocol):
    """Where the documents of actors are. Everything raises LogUnavailable."""

    @property
    def semantic(self) -> bool:
        """Whether it finds by vectors; known once it was asked for something."""

    async def reached(self, actor: str, partition: int, version: str) -> int:
        """The sequence up to which the actor's documents follow its events; 0 when they are another version's."""

    async def write(
        self, tenant: str, actor: str, partition: int, version: str, after: int, upto: int, changes: Sequence[Numbered],
        *, anew: bool,
    ) -> bool:  # fmt: skip
        """Makes the changes of the events behind `after`; with `anew` everything before them goes.

        False, with nothing changed, when the documents do not stand at `after`: somebody else was faster.
        """

    async def by_text(self, actor: str, partition: int, wanted: Wanted, limit: int) -> list[Hit]:
        """The best by words, ties by id."""

    async def by_vector(self, actor: str, partition: int, wanted: Wanted, limit: int) -> list[Hit]:
        """The best by vector, ties by id; none when it cannot."""

    async def listed(self, actor: str, partition: int, wanted: Wanted, ids: Sequence[str] | None) -> list[Hit]:
        """A page by id; with `ids` those."""

    async def drop(self, tenant: str | None, actor: str | None) -> int:
        """Takes all documents away, of one actor, of a tenant's or of everybody's; gives how many there were."""

    async def close(self) -> None:
        """Closes the connections."""


def storable(change: Change) -> Change:
    """The change as Postgres takes it: with U+FFFD in place of NUL."""
    match change:
        case Put(document):
            meta = _mended(document.meta)
            clean = [_mended(text) for text in (document.id, document.text, document.model)]
            return Put(replace(document, id=clean[0], text=clean[1], model=clean[2], meta=meta))
        case Drop(id):
            return Drop(_mended(id))
        case Embed(id, vector, model):
            return Embed(_mended(id), vector, _mended(model))


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(NUL, "\ufffd")
    if isinstance(value, dict):
        return {_mended(name): _mended(one) for name, one in value.items()}
    return [_mended(one) for one in value] if isinstance(value, list) else value


def wrong_with(wanted: Wanted) -> str | None:
    """Why nothing can be searched for by this; None when it can."""
    if len(wanted.filters) > MAX_FILTERS:
        return f"a search has at most {MAX_FILTERS} filters"
    for name, one in wanted.filters.items():
        compared = one if isinstance(one, Compared) else Compared(eq=one)
        values = [getattr(compared, field) for field in ("eq", "gt", "gte", "lt", "lte")] + list(compared.among or ())
        if len(values) > MAX_AMONG:
            return f"filter {name!r} names at most {MAX_AMONG} values"
        if any(isinstance(value, float) and not math.isfinite(value) for value in values):
            return f"filter {name!r} compares with what is no finite number"
        if any(NUL in text for text in (name, *values) if isinstance(text, str)):
            return f"filter {name!r} holds a NUL, which nothing has"
    if NUL in wanted.after or NUL in wanted.model:
        return "an id or the name of a model holds a NUL, which nothing has"
    return None


def fused(by_text: Sequence[Hit], by_vector: Sequence[Hit], limit: int) -> list[Hit]:
    """Reciprocal rank fusion: each half counts by places, since its scores cannot be compared with the other's."""
    texts = {hit.id: place for place, hit in enumerate(by_text, 1)}
    vectors = {hit.id: place for place, hit in enumerate(by_vector, 1)}
    found = {hit.id: hit for hit in (*by_text, *by_vector)}  # the latter knows the likeness

    def one(id: str) -> Hit:
        places = texts.get(id), vectors.get(id)
        score = sum(1 / (RANK_CONSTANT + place) for place in places if place is not None)
        hit = found[id]
        return Hit(hit.id, hit.text, hit.meta, hit.seq, hit.model, score, *places, hit.likeness)

    return sorted((one(id) for id in found), key=lambda hit: (-hit.score, hit.id))[:limit]


def jsonpath(filters: Filters) -> str:
    """The filters as SQL's JSON path, for jsonb_path_exists; empty without any."""
    tests = []
    for name, wanted in filters.items():
        place = f"@.{json.dumps(name)}"
        compared = wanted if isinstance(wanted, Compared) else Compared(eq=wanted)
        signs: tuple[tuple[Scalar | None, Literal["==", ">", ">=", "<", "<="]], ...] = (
            (compared.eq, "=="), (compared.gt, ">"), (compared.gte, ">="), (compared.lt, "<"), (compared.lte, "<="),
        )  # fmt: skip
        tests += [f"{place} {sign} {json.dumps(value)}" for value, sign in signs if value is not None]
        if compared.among is not None:
            any_of = " || ".join(f"{place} == {json.dumps(value)}" for value in compared.among)
            tests.append(f"({any_of})" if any_of else "1 == 2")
    return f"$ ? ({' && '.join(tests)})" if tests else ""
