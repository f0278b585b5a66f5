"""docs/protocol.md as tests read it: its pieces of code and its tables."""

from __future__ import annotations

import re

from tests.support.system import ROOT

PATH = ROOT / "docs" / "protocol.md"


def blocks(language: str) -> list[str]:
    """The pieces of code in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PATH.read_text(), flags=re.MULTILINE | re.DOTALL)


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    _, _, rest = PATH.read_text().partition(f"\n{heading}\n")
    assert rest, f"there is no heading {heading!r}"
    table = re.search(r"^\|.*?(?=\n\n)", rest, flags=re.MULTILINE | re.DOTALL)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]
