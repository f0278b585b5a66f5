"""Chaos catches the bugs that are planted for it; `make chaos-planted` runs them all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.planted import BUGS, Bug
from tests.chaos.planted.hunt import hunt
from tests.support.system import ROOT


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in BUGS])
def test_given_a_planted_bug_when_a_pod_loads_it_then_it_still_fits_the_engine(bug: Bug) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import {bug.module}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug", [pytest.param(bug, id=bug.name) for bug in BUGS if bug.name in ("reply_before_commit", "forget_inbox")]
)
def test_given_a_planted_bug_when_chaos_runs_then_it_is_caught(bug: Bug, tmp_path: Path) -> None:
    said: list[str] = []
    assert hunt(bug, 1, tmp_path, said.append, 6.0), "\n".join(said)
