"""What the documents point at is there: links, files, and the tests that are named as proof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.system import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
_PATH = re.compile(r"(?:schemas|runtime|actors|gateway|tests|examples|docs|deploy)/[\w./-]*")
_TEST = re.compile(r"…\w+(?:…\w+)*…?")
_CODE = re.compile(r"`([^`\n]+)`")


class Reference(NamedTuple):
    """What a document points at. `inside` is the file in which a test of that name is looked for."""

    line: int
    name: str
    inside: str = ""


def references_of(document: Path) -> Iterator[Reference]:
    """The references of a document, in order; a test belongs to the test file that was named last before it."""
    file = ""
    for number, line in enumerate(document.read_text().splitlines(), 1):
        for link in _LINK.findall(line):
            yield Reference(number, str((document.parent / link).resolve().relative_to(ROOT)))
        for code in _CODE.findall(line):
            path, _, test = code.partition("::")
            if _PATH.fullmatch(path):
                yield Reference(number, path)
                file = path if path.startswith("tests/") else file
                if test:
                    yield Reference(number, test, file)
            elif _TEST.fullmatch(code):
                yield Reference(number, code, file)


def is_there(reference: Reference) -> bool:
    """Whether the file, or the test in its file, exists."""
    if not reference.inside:
        return (ROOT / reference.name).exists()
    names = re.findall(r"^(?:async )?def (test_\w+)", (ROOT / reference.inside).read_text(), re.MULTILINE)
    pattern = re.compile(r"\w*".join(map(re.escape, reference.name.split("…"))))
    return any(pattern.fullmatch(name) for name in names)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_given_a_document_then_everything_it_points_at_is_there(document: Path) -> None:
    assert [reference for reference in references_of(document) if not is_there(reference)] == []


def test_given_the_readme_then_each_promise_names_tests() -> None:
    promises = (ROOT / "README.md").read_text().partition("\n## Promises\n")[2].partition("\n## ")[0]
    parts = re.split(r"^\*\*\d\. ", promises, flags=re.MULTILINE)[1:]
    assert len(parts) == 6
    for promise in parts:
        assert "Shown by `tests/" in promise, promise.partition("**")[0]
