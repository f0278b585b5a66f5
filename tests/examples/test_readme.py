"""The README does what it says: its files are written, its commands run, and their output is what it prints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from runtime.infra.ports import free_port
from tests.examples.walkthrough import walk_through
from tests.support.system import ROOT


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the document's readers use curl, and there is none here")
def test_given_a_reader_who_follows_the_readme_then_everything_happens_as_it_says(tmp_path: Path) -> None:
    walk_through(ROOT / "README.md", tmp_path, free_port())
