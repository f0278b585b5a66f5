"""Learning without a model: sentences in which people tell of themselves, and what becomes of what is known.

It knows a few English turns of phrase and compares words. That is enough to see how it works, and says no more than
was said; a model understands what these rules miss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from actors.memory.items import Decision, Item, ItemKind
from actors.words import words

ALIKE = 0.8
"""Of two texts' words, how many must be common for them to say the same."""

_SENTENCE = re.compile(r"[^.!?\n]+")
_SELF = re.compile(
    r"^(?:please\s+)?(?:remember|note)\s+(?:that\s+)?(?P<told>.+)$"
    r"|^(?P<mine>my\s+[\w\s]{1,40}?\s(?:is|are)\s.+)$"
    r"|^(?P<me>(?:i\s+(?:am|live|work|use|prefer|like|love|hate|dislike|need|have|speak|study)\b|i'm\b|call\s+me\b).+)$",
    re.IGNORECASE,
)
_HOW = re.compile(r"^(?:please\s+)?(?:always|never)\s+.+$", re.IGNORECASE)
_FORGET = re.compile(r"^(?:please\s+)?forget\s+(?:that\s+|about\s+)?(?P<what>.+)$", re.IGNORECASE)
_ONE_VALUE = re.compile(
    r"^(?:my\s+[\w\s]{1,40}?\s(?:is|are)|i\s+(?:live|work|prefer)|call\s+me|i'm\s+called)\b", re.IGNORECASE
)


class Fact(Struct, frozen=True, omit_defaults=True):
    """Something that was said and may be worth remembering, or that is to be forgotten."""

    text: str
    kind: ItemKind = "semantic"
    forget: bool = False


def facts(said: Sequence[str]) -> list[Fact]:
    """What the sentences of a person tell of them."""
    found: list[Fact] = []
    for text in said:
        for sentence in (one.strip() for one in _SENTENCE.findall(text)):
            if forgotten := _FORGET.match(sentence):
                found.append(Fact(forgotten["what"], forget=True))
            elif _HOW.match(sentence):
                found.append(Fact(sentence, "procedural"))
            elif told := _SELF.match(sentence):
                found.append(Fact(told["told"] or sentence))
    return found


def decided(fact: Fact, known: Sequence[Item]) -> Decision:
    """What becomes of a fact, given the items that have most to do with it."""
    best = max(known, key=lambda item: alike(fact.text, item.text), default=None)
    likeness = 0.0 if best is None else alike(fact.text, best.text)
    if fact.forget:
        if best is not None and _covered(fact.text, best.text) >= ALIKE:
            return Decision("DELETE", id=best.id, why=f"asked to forget {fact.text!r}")
        return Decision("NOOP", fact.text, why="there is nothing like it to forget")
    if best is not None and likeness >= ALIKE:
        return Decision("NOOP", fact.text, best.id, fact.kind, "it is known")
    subject = _subject(fact.text)
    same = next((item for item in known if subject and _subject(item.text) == subject), None)
    if same is not None:
        return Decision("UPDATE", fact.text, same.id, fact.kind, f"it said {same.text!r}")
    return Decision("ADD", fact.text, kind=fact.kind, why="it is new")


def _subject(text: str) -> str:
    """What a sentence gives the one value of, such as `my name is`; empty for others."""
    found = _ONE_VALUE.match(text)
    return " ".join(found.group().lower().split()) if found else ""


def alike(one: str, other: str) -> float:
    """The share of their words that two texts have in common."""
    first, second = set(words(one)), set(words(other))
    return len(first & second) / len(first | second) if first | second else float(one == other)


def _covered(asked: str, text: str) -> float:
    """The share of the words asked for that a text has."""
    wanted = set(words(asked))
    return len(wanted & set(words(text))) / len(wanted) if wanted else 0.0
