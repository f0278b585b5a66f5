"""What a rule of the design is here: its text, and the breaks that show that a test holds it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from msgspec import Struct, convert


class Break(Struct, frozen=True, forbid_unknown_fields=True):
    """One replacement in the product's source, after which every one of `tests` fails by an assertion of its own.

    `old` occurs exactly once in `file`; `tests` are pytest's node ids, which may leave out the cases of a test.
    """

    file: str
    old: str
    new: str
    tests: list[str]


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule of the design in our words. Its name begins with the number of the decision it belongs to."""

    name: str
    text: str
    breaks: list[Break]


class _Decision(Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[Rule]


def of_decision(number: int) -> list[Rule]:
    """The rules of a decision, from its file beside this one."""
    path = Path(__file__).with_name(f"decision_{number}.toml")
    return convert(tomllib.loads(path.read_text(encoding="utf-8")), type=_Decision).rules
