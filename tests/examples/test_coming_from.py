"""The guide for people who come from elsewhere: its snippets run, and do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from runtime import World
from runtime.kind import Kind

GUIDE = Path(__file__).parents[2] / "docs" / "coming-from.md"
SNIPPETS = re.findall(r"```python\n(# Troupe\n.*?)```", GUIDE.read_text(), re.DOTALL)


def kinds_of(snippet: str) -> dict[str, Kind]:
    """The kinds that a snippet defines, by name."""
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet, str(GUIDE), "exec"), names)
    return {kind.name: kind for kind in names.values() if isinstance(kind, Kind)}


def test_the_guide_has_one_for_each_of_the_four() -> None:
    assert len(SNIPPETS) == 4


@pytest.mark.parametrize(
    ("number", "name", "args", "signals", "result"),
    [
        (0, "checkout", {"order": "o1"}, [("pack", None)], "parcel for payment for o1"),
        (1, "signup", {"email": "ann@example.org"}, [("clicked", "guessed")], False),
        (2, "crawl", {"urls": ["a", "bc"]}, [], 3),
        (3, "data_pipeline", {"input": {"source": "abc"}}, [], {"transform": 6}),
    ],
)
def test_given_a_snippet_of_the_guide_then_it_runs(
    number: int, name: str, args: Any, signals: list[tuple[str, Any]], result: Any
) -> None:
    kinds = kinds_of(SNIPPETS[number])
    world = World(*kinds.values())
    for signal, value in signals:
        world.signal(kinds[name], "run-1", "start", signal, value)
    assert world.ask(kinds[name], "run-1", "run", args, id="start") == result
