"""Vectors of texts, for what is searched by likeness: the model that the fleet names `embed`, reached by litellm.

There is no stand-in for it: without a model there are no vectors, and who searches finds by words alone.
"""

from __future__ import annotations

import base64
import math
import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from msgspec import UNSET

from actors.models.current import models
from actors.models.fleet import SlotSettings
from actors.models.model import Garbled, ModelError, Refused, Unavailable

MAX_TEXTS = 64
"""Of one request."""

MAX_NUMBERS = 16_000
"""Of a vector that pgvector takes."""

LEAST_LENGTH = 1e-15
"""Of a vector that others can be compared with: the squares of smaller numbers are 0 in single precision."""

Vector = tuple[float, ...]


class Embedder(Protocol):
    """Makes vectors. `model` names what they can be compared with: vectors of the same name."""

    model: str

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector a text, in order, all of one length. Raises ModelError."""


class LiteLLMEmbedder:
    """The model of these settings, by litellm."""

    def __init__(self, settings: SlotSettings) -> None:
        assert settings.model is not UNSET
        self.model = settings.model
        self._settings = settings

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """See Embedder."""
        from actors.models.reached import load  # noqa: PLC0415  # seconds, and 180 MB

        litellm = load()
        found: list[Vector] = []
        for at in range(0, len(texts), MAX_TEXTS):
            page = list(texts[at : at + MAX_TEXTS])
            try:
                answer = await litellm.aembedding(**self._asked(page))
            except ModelError:
                raise
            except Exception as error:  # whatever a provider's client raises is the model's failure
                text = " ".join(str(error).split())[:500]
                raise Unavailable(self.model, f"made no vectors: {type(error).__name__}: {text}") from error
            found += self._vectors(answer, len(page))
        return found

    def _asked(self, texts: list[str]) -> dict[str, Any]:
        said = self._settings
        asked: dict[str, Any] = {} if said.options is UNSET else dict(said.options)
        asked |= {"model": self.model, "input": texts, "encoding_format": "float"}
        asked["timeout"] = 60.0 if said.timeout_s is UNSET else said.timeout_s
        if said.api_base is not UNSET and said.api_base is not None:
            asked["api_base"] = said.api_base
        if said.api_key_env is not UNSET and said.api_key_env is not None:
            if not (key := os.environ.get(said.api_key_env)):
                raise Refused(self.model, f"needs a key: set the environment variable {said.api_key_env}")
            asked["api_key"] = key
        elif "api_base" in asked:
            asked["api_key"] = "none"  # an endpoint of one's own often wants none, and the client insists on one
        return asked

    def _vectors(self, answer: Any, many: int) -> list[Vector]:
        try:
            rows = sorted(answer.data, key=lambda row: int(row["index"]))
            vectors = [tuple(float(number) for number in row["embedding"]) for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise Garbled(self.model, f"answered with what are no vectors: {error!r}") from error
        if len(vectors) != many or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
            text = f"answered {many} texts with {len(vectors)} vectors, or with vectors of unlike lengths"
            raise Garbled(self.model, text)
        return vectors


_current: Embedder | None = None


def embedder() -> Embedder | None:
    """What makes vectors in this process; None when its fleet names no model for it."""
    if _current is not None:
        return _current
    said = models().fleet.embed
    return None if said is None or said.model is UNSET else LiteLLMEmbedder(said)


@contextmanager
def embedding_by(one: Embedder) -> Iterator[None]:
    """This one makes vectors meanwhile; for tests, and for who brings one of their own."""
    global _current
    before, _current = _current, one
    try:
        yield
    finally:
        _current = before


def packed(vector: Sequence[float]) -> str:
    """A vector as text for the log: 32-bit numbers, the least byte first, in base64."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


def unpacked(text: str) -> Vector:
    """The vector of such a text: 1 to MAX_NUMBERS finite numbers, with a direction. Raises ValueError."""
    numbers = array("f")
    numbers.frombytes(base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    if not 0 < len(numbers) <= MAX_NUMBERS or not all(map(math.isfinite, numbers)):
        raise ValueError(f"it has 1 to {MAX_NUMBERS} finite numbers")  # the index would take no other one
    if math.hypot(*numbers) < LEAST_LENGTH:
        raise ValueError("it points nowhere: all its numbers are 0")  # nothing can be told to be like it
    return tuple(numbers)
