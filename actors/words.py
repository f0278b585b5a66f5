"""The words of a text, as what compares texts by their words sees them."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+")

STOP = frozenset(
    _WORD.findall(
        "a an and any are as at be been but by can could did do does for from give had has have he her him "
        "his how i if in is it its just let like may me might my no not of on or our out please shall she "
        "should show so some tell than that the their them then there these they this those to us want was we "
        "were what when where which who why will with would you your"
    )
)
"""Words that say nothing of what a text is about."""

QUESTIONS = frozenset(["how", "when", "where", "who", "which", "why", "not", "no", "from", "for", "with", "any"])
"""Of these, those that tell one question from another."""

SUFFIXES = ("ations", "ation", "ings", "ing", "edly", "ied", "ies", "ers", "er", "ed", "es", "ly", "s")


def words(text: str, keep: frozenset[str] = frozenset()) -> list[str]:
    """Its words in order, in small letters, without accents, endings and words that say nothing, except for `keep`."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(one))
    return [stem(word) for word in _WORD.findall(plain) if word not in STOP or word in keep]


def stem(word: str) -> str:
    """The word without its ending, where at least three letters are left: refunds, refunded and refund are one."""
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word
