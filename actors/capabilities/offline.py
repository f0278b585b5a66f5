"""What workers do by rules where the built-in model serves their slot: no weights, and a summary says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from actors.models.offline import MARK

_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_VALUE = re.compile(r"\d+(?:\.\d+)*|\"[^\"]+\"|\b[A-Z][\w-]*\d[\w-]*\b")


def summary(text: str, words: int) -> str:
    """The first sentences of a text, as many as fit into so many words; at least a part of the first."""
    kept: list[str] = []
    for sentence in _SENTENCE.findall(text):
        said = sentence.split()
        if kept and len(kept) + len(said) > words:
            break
        kept += said
    return f"{MARK} {' '.join(kept[:words])}"


def missing(claim: Any, text: str) -> tuple[str, ...]:
    """What of a claim the text does not hold: of a text its numbers, codes and quotations, else each of its values."""
    found = _VALUE.findall(claim) if isinstance(claim, str) else list(_leaves(claim))
    held = {_plain(one) for one in _VALUE.findall(text)}
    said = text.lower()
    wanted = dict.fromkeys(str(one).strip('"') for one in found)
    return tuple(one for one in wanted if _plain(one) not in held and one.lower() not in said)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif not isinstance(value, bool) and value not in (None, ""):
        yield str(value)


def _plain(value: str) -> str:
    """One form for all ways to write a number."""
    try:
        return repr(float(value))
    except ValueError:
        return value.strip('"')
