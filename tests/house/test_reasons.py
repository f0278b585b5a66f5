"""Exceptions from the rules have a code and a reason, and nothing in the product is left for later."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.system import ROOT

ROOMS = ("schemas", "runtime", "actors", "gateway")
EXCEPTION = re.compile(r"#\s*(type:\s*ignore|noqa)\b")
WITH_REASON = re.compile(r"#\s*(type: ignore\[[\w, -]+\]|noqa: [A-Z0-9, ]+?)\s*( # |  #|- |# )\s*\S+")
LATER = re.compile(r"NotImplementedError|TODO|FIXME|XXX|HACK")
HOOKS = Path("runtime/arguments.py")
"""msgspec's hooks say with NotImplementedError that a type is not theirs."""


def lines() -> Iterator[tuple[Path, int, str]]:
    """Every line of the product's code."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                yield file.relative_to(ROOT), number, line


def test_given_an_exception_from_a_rule_then_it_names_the_rule_and_the_reason() -> None:
    marked = [(f"{file}:{number}", line) for file, number, line in lines() if EXCEPTION.search(line)]
    assert [place for place, line in marked if not WITH_REASON.search(line)] == []


def test_given_the_product_then_nothing_in_it_is_left_for_later() -> None:
    left = [f"{file}:{number}" for file, number, line in lines() if file != HOOKS and LATER.search(line)]
    assert left == []
