"""What async queries read in a World: its log, and documents in memory, found as Postgres finds them.

Words are compared in small letters and as they are: endings are taken off by Postgres alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from runtime.index import Compared, Document, Drop, Embed, Filters, Hit, Numbered, Put, Scalar, Wanted
from schemas.address import actor_id, encode_token
from schemas.wire import LogEvent

WORLD_PARTITIONS = 1
_WORD = re.compile(r"\w+")


class WorldReader:
    """Reads the log of a World; see runtime.reading.Reader."""

    def __init__(self, log: Sequence[LogEvent]) -> None:
        self._log = log

    async def actor(self, actor: str, lane: int, from_seq: int = 1, limit: int = 1000) -> list[LogEvent]:
        """Events of one actor from a sequence on."""
        own = (one for one in self._log if actor_id(one.tenant, one.kind, encode_token(one.key)) == actor)
        return [event for event in own if event.seq >= from_seq][:limit]


class WorldIndex:
    """An IndexStore in memory."""

    semantic = True

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, tuple[int, Document]]] = {}
        self._reached: dict[str, tuple[str, int]] = {}

    async def reached(self, actor: str, partition: int, version: str) -> int:
        """See IndexStore."""
        known, seq = self._reached.get(actor, ("", 0))
        return seq if known == version else 0

    async def write(
        self, tenant: str, actor: str, partition: int, version: str, after: int, upto: int, changes: Sequence[Numbered],
        *, anew: bool,
    ) -> bool:  # fmt: skip
        """See IndexStore."""
        if await self.reached(actor, partition, version) != after:
            return False
        kept = {} if anew else dict(self._documents.get(actor, {}))
        for seq, change in changes:
            match change:
                case Put(document):
                    kept[document.id] = seq, document
                case Drop(id):
                    kept.pop(id, None)
                case Embed(id, vector, model):
                    if id in kept:
                        known = kept[id][1]
                        kept[id] = seq, Document(id, known.text, known.meta, vector, model)
        self._documents[actor] = kept
        self._reached[actor] = version, upto
        return True

    async def by_text(self, actor: str, partition: int, wanted: Wanted, limit: int) -> list[Hit]:
        """See IndexStore."""
        asked = set(_WORD.findall(wanted.text.lower()))
        found = []
        for hit, document in self._fitting(actor, wanted.filters):
            said = _WORD.findall(document.text.lower())
            if score := sum(1 for word in said if word in asked):
                found.append((-score / (1 + math.log(1 + len(said))), hit.id, hit))
        return [hit for _, _, hit in sorted(found, key=lambda one: one[:2])[:limit]]

    async def by_vector(self, actor: str, partition: int, wanted: Wanted, limit: int) -> list[Hit]:
        """See IndexStore."""
        assert wanted.vector is not None
        found = []
        for hit, document in self._fitting(actor, wanted.filters):
            vector = document.vector
            if vector is None or document.model != wanted.model or len(vector) != len(wanted.vector):
                continue
            likeness = _cosine(vector, wanted.vector)
            if likeness >= wanted.min_likeness:
                found.append((-likeness, hit.id, msgspec.structs.replace(hit, likeness=likeness)))
        return [hit for _, _, hit in sorted(found, key=lambda one: one[:2])[:limit]]

    async def listed(self, actor: str, partition: int, wanted: Wanted, ids: Sequence[str] | None) -> list[Hit]:
        """See IndexStore."""
        fitting = sorted((hit for hit, _ in self._fitting(actor, wanted.filters)), key=lambda hit: hit.id)
        known = frozenset(ids) if ids is not None else None
        return [hit for hit in fitting if (hit.id > wanted.after if known is None else hit.id in known)][: wanted.limit]

    async def drop(self, tenant: str | None, actor: str | None) -> int:
        """See IndexStore."""
        dropped = sum(len(kept) for one, kept in self._documents.items() if actor in (None, one))
        for one in [one for one in self._documents if actor in (None, one)]:
            del self._documents[one], self._reached[one]
        return dropped

    async def close(self) -> None:
        """Nothing is open."""

    def _fitting(self, actor: str, filters: Filters) -> list[tuple[Hit, Document]]:
        documents = self._documents.get(actor, {}).values()
        return [
            (Hit(one.id, one.text, one.meta, seq, one.model), one) for seq, one in documents if _fits(one.meta, filters)
        ]


def _fits(meta: Mapping[str, Any], filters: Filters) -> bool:
    for name, wanted in filters.items():
        compared = wanted if isinstance(wanted, Compared) else Compared(eq=wanted)
        value = meta.get(name)
        values = value if isinstance(value, list) else [value]
        if compared.eq is not None and not any(_equal(one, compared.eq) for one in values):
            return False
        if compared.among is not None and not any(_equal(one, other) for one in values for other in compared.among):
            return False
        bounds = (compared.gt, (1,)), (compared.gte, (0, 1)), (compared.lt, (-1,)), (compared.lte, (-1, 0))
        for bound, orders in bounds:
            if bound is not None and not any(_order(one, bound) in orders for one in values):
                return False
    return True


def _equal(one: Any, other: Scalar) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _order(one: Any, other: Scalar) -> int | None:
    """-1, 0 or 1; None for what cannot be compared."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (one, other))
    texts = isinstance(one, str) and isinstance(other, str)
    if not numbers and not texts:
        return None
    return int(one > other) - int(one < other)


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = math.sqrt(sum(x * x for x in one)) * math.sqrt(sum(x * x for x in other))
    return sum(x * y for x, y in zip(one, other, strict=True)) / product if product else 0.0
