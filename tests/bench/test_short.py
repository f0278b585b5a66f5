"""The benchmark runs, and what it measures is what the log counted. No speed is judged here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.support.system import ROOT

WANTED = {
    "replay_events_per_s",
    "ten_step_run_p50_ms",
    "workflow_start_to_result_p50_ms",
    "recover_10k_runs_s",
    "replay_10k_step_journal_ms",
    "fsync",
    "synchronous_commit",
}


@pytest.mark.slow
def test_given_a_short_run_when_it_ends_then_every_figure_was_checked_against_the_log(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    only = "replay,runs,recovery,journal"
    command = [sys.executable, "-m", "tests.bench", "--seconds", "0.1", "--only", only, "--short", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    figures = msgspec.json.decode(out.read_bytes(), type=dict[str, float])
    assert figures.keys() >= WANTED
    assert figures["fsync"] == figures["synchronous_commit"] == 1
    assert "fsync on, synchronous_commit on" in done.stdout
