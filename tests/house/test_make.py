"""The Makefile: every target is explained, and what it runs is there."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.support.system import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed here")

PROMISED = {
    "setup", "demo", "test", "check", "chaos", "chaos-planted", "linear", "soak", "simulate", "bench", "bench-peers",
    "docs", "rules",
}  # fmt: skip


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs make in the checkout."""
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_given_help_then_every_target_is_explained() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    explained = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", make("help").stdout, re.MULTILINE))
    assert targets == set(explained)
    assert targets >= PROMISED


def test_given_a_target_then_the_program_that_it_runs_is_there() -> None:
    recipes = (ROOT / "Makefile").read_text()
    for module in re.findall(r"python -m (tests\.\w+)", recipes):
        assert (ROOT / module.replace(".", "/") / "__main__.py").is_file(), module
    for script in re.findall(r"python (\S+\.py)", recipes):
        assert (ROOT / script).is_file(), script
