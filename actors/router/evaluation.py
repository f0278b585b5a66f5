"""How well the classifier without a model finds capabilities, judged by sentences that it was not told.

    capabilities:
      - name: refund
        description: Gives a customer's money back.
        examples: [I want my money back]          # what the router is told
        held_out: [please refund order 7]         # what it is judged by
    nothing: [tell me a joke]                     # what fits none
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from actors.router.lexical import SURE_AT, Lexical, Profile
from runtime.errors import Misconfigured


class Judged(Profile, frozen=True):
    """A capability, and sentences that mean it."""

    held_out: tuple[str, ...] = ()


class Utterances(Struct, frozen=True):
    """An evaluation's file."""

    capabilities: tuple[Judged, ...]
    nothing: tuple[str, ...] = ()


class Miss(Struct, frozen=True):
    """A sentence that went wrong. `meant` and `picked` are None for nothing; an unsure router picks nothing."""

    text: str
    meant: str | None
    picked: str | None
    confidence: float


class Report(Struct, frozen=True):
    """`accuracy` is the share of all sentences for which what was meant, or nothing, was picked."""

    accuracy: float
    fitting: int
    found: int
    nothing: int
    left: int
    misses: tuple[Miss, ...]


def load(path: Path) -> Utterances:
    """An evaluation's file. Raises Misconfigured, which names the place that is wrong."""
    try:
        found = msgspec.yaml.decode(path.read_bytes(), type=Utterances)
    except OSError as error:
        raise Misconfigured(f"the utterances cannot be read: {error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise Misconfigured(f"{path}: {error}") from error
    if not any(one.held_out for one in found.capabilities):
        raise Misconfigured(f"{path} holds nothing to judge by: give capabilities sentences under held_out")
    return found


def evaluate(utterances: Utterances) -> Report:
    """Judges."""
    lexical = Lexical(utterances.capabilities)
    wanted: list[tuple[str, str | None]] = [
        (text, one.name) for one in utterances.capabilities for text in one.held_out
    ]
    wanted += [(text, None) for text in utterances.nothing]
    misses: list[Miss] = []
    for text, meant in wanted:
        best = lexical.rank(text)[0]
        picked = best.name if best.confidence >= SURE_AT else None
        if picked != meant:
            misses.append(Miss(text, meant, picked, best.confidence))
    fitting = len(wanted) - len(utterances.nothing)
    found = fitting - sum(miss.meant is not None for miss in misses)
    left = len(utterances.nothing) - sum(miss.meant is None for miss in misses)
    return Report(round(1 - len(misses) / len(wanted), 4), fitting, found, len(utterances.nothing), left, tuple(misses))
