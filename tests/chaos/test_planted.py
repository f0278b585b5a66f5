"""Chaos catches the bugs that are planted for it; `make chaos-planted` runs them all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.planted import BUGS, Bug
from tests.chaos.planted.hunt import hunt
from tests.support.system import ROOT

LOADED = """
import importlib, os, sys
import runtime.host.pods, tests.chaos.kinds
for module in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(module)
        os._exit(0)
    if os.wait()[1]:
        sys.exit(f"{module} does not fit")
"""
"""Loads each module into an engine of its own, as a pod does; the engine is imported once."""


def test_given_planted_bugs_when_a_pod_loads_one_then_each_still_fits_the_engine() -> None:
    command = [sys.executable, "-c", LOADED, *[bug.module for bug in BUGS]]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug", [pytest.param(bug, id=bug.name) for bug in BUGS if bug.name in ("reply_before_commit", "forget_inbox")]
)
def test_given_a_planted_bug_when_chaos_runs_then_it_is_caught(bug: Bug, tmp_path: Path) -> None:
    said: list[str] = []
    assert hunt(bug, 1, tmp_path, said.append, 6.0), "\n".join(said)
