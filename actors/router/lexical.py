"""Finds the capability that a sentence is about, by its words alone: without a model, a network, or weights.

Naive Bayes against the complement (Rennie et al. 2003) over words, pairs of words and pieces of words: each says how
much oftener it is used of one capability than of all others, and weighs the more the fewer capabilities use it. How
sure that is follows from the sum of this evidence, from how far the next capability is behind, and from the share of
the sentence's words that anybody uses at all: a sentence of strange words is about none.

The constants were chosen by leaving out one example, and one capability, at a time (actors/router/evaluation.py judges
by sentences that had no part in that).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec import Struct

from actors.words import QUESTIONS, words

PIECE = 4
"""Letters of a piece of a word."""

WEIGHT_OF_PAIR, WEIGHT_OF_PIECE = 0.5, 0.25
WEIGHT_OF_DESCRIPTION, WEIGHT_OF_NAME = 3.0, 2.0
SMOOTHING = 0.1
RARITY = 0.5
ELSEWHERE = 200.0
"""Words of all that is said of nothing here: a complement is never empty, however few capabilities there are."""

SURE_AT = 0.34
"""The confidence from which a capability is picked."""

MAY_BE_AT = SURE_AT / 2
"""The confidence from which it may be meant: worth asking back."""


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
        self._counts: dict[str, dict[str, float]] = {}
        self._words: set[str] = set()
        self._own: dict[str, float] = {profile.name: 0.0 for profile in profiles}
        for profile in profiles:
            self._learn(profile.name, profile.name.replace("_", " "), WEIGHT_OF_NAME)
            self._learn(profile.name, profile.description, WEIGHT_OF_DESCRIPTION)
            for example in profile.examples:
                self._learn(profile.name, example, 1.0)
        self._all = sum(self._own.values())

    def rank(self, text: str) -> list[Candidate]:
        """All capabilities, the likeliest first."""
        said = _words(text)
        known = sum(word in self._words for word in said) / len(said) if said else 0.0
        scores = sorted(self._scores(text).items(), key=lambda one: (-one[1], one[0]))
        found: list[Candidate] = []
        for at, (name, score) in enumerate(scores):
            behind = scores[at + 1][1] if at + 1 < len(scores) else 0.0
            lead = score - behind if at == 0 else 0.0
            found.append(Candidate(name, round(_confidence(score, lead, known), 4)))
        return found

    def _learn(self, name: str, text: str, weight: float) -> None:
        self._words.update(_words(text))
        for feature, count in _features(text).items():
            counts = self._counts.setdefault(feature, {})
            counts[name] = counts.get(name, 0.0) + weight * count
            self._own[name] += weight * count

    def _scores(self, text: str) -> dict[str, float]:
        scores = dict.fromkeys(self._own, 0.0)
        smoothed = SMOOTHING * len(self._counts)
        # What the sizes of a capability and of the others take off, which is the same for each feature.
        sizes: dict[str, float] = {}
        if smoothed:
            sizes = {
                one: math.log((self._all - own + ELSEWHERE + smoothed) / (own + smoothed))
                for one, own in self._own.items()
            }
        for feature, count in _features(text).items():
            counts = self._counts.get(feature)
            if counts is None:
                continue
            total = sum(counts.values())
            weight = count * (math.log((1 + len(scores)) / (1 + len(counts))) + 0.1) ** RARITY
            for name, size in sizes.items():
                own = counts.get(name, 0.0)
                scores[name] += weight * (math.log((own + SMOOTHING) / (total - own + SMOOTHING)) + size)
        return scores


def _confidence(score: float, lead: float, known: float) -> float:
    if score <= 0:
        return 0.0
    return math.sqrt(known) * -math.expm1(-score / 6) * -math.expm1(-(lead + 0.5) / 2)


def _words(text: str) -> list[str]:
    return ["0" if word.isdigit() else word for word in words(text, keep=QUESTIONS)]


def _features(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for feature, weight in _weighed(_words(text)):
        found[feature] = found.get(feature, 0.0) + weight
    return found


def _weighed(said: list[str]) -> Iterator[tuple[str, float]]:
    for word in said:
        yield word, 1.0
        padded = f"<{word}>"
        for at in range(len(padded) - PIECE + 1):
            yield f"#{padded[at : at + PIECE]}", WEIGHT_OF_PIECE
    for first, second in pairwise(said):
        yield f"{first} {second}", WEIGHT_OF_PAIR
