"""Kinds for bodies and results of any size."""

from __future__ import annotations

from runtime import function


@function
def length(text: str) -> int:
    """How long a text is."""
    return len(text)


@function
def repeat(text: str, times: int) -> str:
    """A text so many times."""
    return text * times
