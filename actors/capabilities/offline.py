"""What workers do by rules where the built-in model serves their slot: no weights, and a summary says so."""

from __future__ import annotations

import re

from actors.models.offline import MARK

_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_VALUE = re.compile(r"\d+(?:[.,]\d+)*|\"[^\"]+\"|\b[A-Z][\w-]*\d[\w-]*\b")


def summary(text: str, words: int) -> str:
    """The first sentences of a text, as many as fit into so many words; at least a part of the first."""
    kept: list[str] = []
    for sentence in _SENTENCE.findall(text):
        said = sentence.split()
        if kept and len(kept) + len(said) > words:
            break
        kept += said
    return f"{MARK} {' '.join(kept[:words])}"


def missing(claim: str, text: str) -> tuple[str, ...]:
    """The numbers, codes and quoted texts of a claim that the text does not hold."""
    held = {_plain(one) for one in _VALUE.findall(text)} | {text}
    return tuple(
        dict.fromkeys(one for one in _VALUE.findall(claim) if _plain(one) not in held and _plain(one) not in text)
    )


def _plain(value: str) -> str:
    return value.strip('"')
