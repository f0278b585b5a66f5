"""Finds the capability that a sentence is about, by its words alone: without a model, a network, or weights.

A sentence is a vector of its words, pairs of words and pieces of words, each weighed by how few capabilities use it
(tf-idf; Salton and Buckley 1988). How near it is to a capability is the cosine to that one's example that is nearest,
and to all of them and the description together. How sure that is follows from how near the nearest is, and by how much
the next one is farther away: a sentence of words that nobody uses is near to nobody.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from actors.words import words

Vector = Mapping[str, float]

PIECE = 4
"""Letters of a piece of a word."""

WEIGHT_OF_WORD, WEIGHT_OF_PAIR, WEIGHT_OF_PIECE = 1.0, 0.7, 0.25
SHARE_OF_NEAREST = 0.5
"""Of the nearest example in the score; the rest is of all that is said of the capability."""

SURE_AT = 0.42
"""A nearness at which a sentence is as sure as it can be."""


class Profile(Struct, frozen=True):
    """What is known of a capability."""

    name: str
    description: str = ""
    examples: tuple[str, ...] = ()


class Candidate(Struct, frozen=True):
    """A capability and how sure it is that it is meant, from 0 to 1."""

    name: str
    confidence: float


class Lexical:
    """A classifier over these capabilities."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._count = len(profiles)
        self._used: Counter[str] = Counter()
        documents = {profile.name: [*profile.examples, profile.description] for profile in profiles}
        for texts in documents.values():
            self._used.update({feature for text in texts for feature, _ in _features(text)})
        self._examples = {
            profile.name: [self._vector(text) for text in profile.examples or (profile.description,)]
            for profile in profiles
        }
        self._whole = {name: self._vector(*texts) for name, texts in documents.items()}

    def rank(self, text: str) -> list[Candidate]:
        """All capabilities, the likeliest first. `confidence` of the first is what may be acted on."""
        vector = self._vector(text)
        scores = sorted(
            ((self._nearness(vector, name), name) for name in self._whole), key=lambda one: (-one[0], one[1])
        )
        found = []
        for score, name in scores:
            best_other = next((other for other, another in scores if another != name), 0.0)
            margin = max(score - best_other, 0.0) / score if score else 0.0
            found.append(Candidate(name, round(min(score / SURE_AT, 1.0) * (0.5 + 0.5 * min(2 * margin, 1.0)), 4)))
        return found

    def _nearness(self, vector: Vector, name: str) -> float:
        nearest = max(_cosine(vector, example) for example in self._examples[name])
        return SHARE_OF_NEAREST * nearest + (1 - SHARE_OF_NEAREST) * _cosine(vector, self._whole[name])

    def _vector(self, *texts: str) -> Vector:
        counts: dict[str, float] = {}
        for text in texts:
            for feature, weight in _features(text):
                counts[feature] = counts.get(feature, 0.0) + weight
        weighed = {
            feature: (1 + math.log1p(count)) * (count if count < 1 else 1.0) * self._rarity(feature)
            for feature, count in counts.items()
        }
        norm = math.sqrt(sum(value * value for value in weighed.values())) or 1.0
        return {feature: value / norm for feature, value in weighed.items()}

    def _rarity(self, feature: str) -> float:
        return math.log((1 + self._count) / (1 + self._used[feature])) + 0.1


def _features(text: str) -> Iterator[tuple[str, float]]:
    found = words(text)
    for word in found:
        yield word, WEIGHT_OF_WORD
        padded = f"<{word}>"
        for at in range(len(padded) - PIECE + 1):
            yield f"#{padded[at : at + PIECE]}", WEIGHT_OF_PIECE
    for first, second in pairwise(found):
        yield f"{first} {second}", WEIGHT_OF_PAIR


def _cosine(one: Vector, other: Vector) -> float:
    if len(one) > len(other):
        one, other = other, one
    return sum(value * other.get(feature, 0.0) for feature, value in one.items())
