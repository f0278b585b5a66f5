"""Our own side of the comparison runs on real servers, at a small size; peers are not installed for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.peers import results
from tests.support.system import ROOT


@pytest.mark.slow
def test_given_no_peer_when_our_side_is_measured_then_what_the_log_counted_is_kept(tmp_path: Path) -> None:
    report, out = tmp_path / "benchmarks.md", tmp_path / "bench-peers.json"
    command = [sys.executable, "-m", "tests.peers", "--only", "ours", "--works", "alone,checkpoints"]
    options = ["--stage", "sweep", "--short", "--seconds", "0.5", "--state", str(tmp_path)]
    command += [*options, "--report", str(report), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    about = results.read(tmp_path / "results.json").about["ours"]
    assert about.sweeps.keys() == {"alone", "checkpoints"}
    for sweep in about.sweeps.values():
        (trial,) = sweep.trials
        assert trial.outcome is not None, trial.failure
        assert trial.outcome.counted >= trial.outcome.per_s * 0.3 > 0
    assert "fsync on, synchronous_commit on" in report.read_text()
    assert msgspec.json.decode(out.read_bytes()) == {}
