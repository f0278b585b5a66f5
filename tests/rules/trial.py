"""Trying a break: a copy of the tree, the replacement, the tests in a process of their own, and what they said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.rules.rule import Break
from tests.support.system import ROOT

LIMIT_S = 240.0
"""A test that has not ended by then hangs, which is no verdict."""

OWN = ("AssertionError", "Failed")
"""What a test raises that says itself what is wrong: `assert`, and pytest.raises when nothing was raised."""

NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "dist", "build")
"""Compiled modules are copied: Python takes them where their source is as old and as long as it was."""


class Outcome(NamedTuple):
    """How each test ended (see tests.rules.verdict; `hangs` for one that did not), and how long it took in seconds."""

    verdicts: dict[str, str]
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether every test failed by an assertion of its own."""
        return all(why in OWN for why in self.verdicts.values())


def applied(text: str, one: Break) -> str:
    """The file's text with the break in it. Raises ValueError unless its old text occurs exactly once."""
    found = text.count(one.old)
    if found != 1:
        raise ValueError(f"{one.file} holds {found} times, and not once: {one.old!r}")
    return text.replace(one.old, one.new)


def tried(one: Break) -> Outcome:
    """Breaks a copy of the tree and runs the tests that are to fail."""
    return ran(one.tests, one)


def ran(tests: Sequence[str], one: Break | None = None, limit_s: float = LIMIT_S) -> Outcome:
    """Runs tests in a copy of the tree, broken by `one` if it is given."""
    with tempfile.TemporaryDirectory(prefix="troupe-rules-") as directory:
        tree, said = Path(directory) / "tree", Path(directory) / "verdict"
        shutil.copytree(ROOT, tree, ignore=NOT_COPIED)
        if one is not None:
            file = tree / one.file
            for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
                compiled.unlink()
            file.write_text(applied(file.read_text(encoding="utf-8"), one), encoding="utf-8")
        said.touch()
        began = time.monotonic()
        _pytest(tests, tree, said, limit_s)
        lines = [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines()]
        ended = dict(reversed(lines))  # what came first is why: a failed test's clearing away may fail as well
        return Outcome({test: _of(test, ended) for test in tests}, time.monotonic() - began)


def _of(test: str, ended: dict[str, str]) -> str:
    """What became of a test; one that is given without its cases fails when one of them does."""
    found = [why for id, why in ended.items() if id == test or id.startswith(f"{test}[")]
    return max(found, key=lambda why: why in OWN, default="hangs")


def _pytest(tests: Sequence[str], tree: Path, said: Path, limit_s: float) -> None:
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "tests.rules.verdict", "-p", "no:cacheprovider", *tests]
    command = [sys.executable, "-m", "tests.rules.keeper", str(limit_s), *pytest]
    environment = {**os.environ, "PYTHONPATH": str(tree), "RULES_VERDICT": str(said)}
    with (said.parent / "output").open("wb") as output:
        subprocess.run(command, cwd=tree, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if keep := os.environ.get("RULES_OUTPUT"):
        shutil.copy(said.parent / "output", keep)
