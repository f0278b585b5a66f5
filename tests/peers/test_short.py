"""Our own side of the comparison runs on real servers, at a small size; peers are not installed for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from runtime.infra import Infra
from tests.peers import results
from tests.peers.ours import Ours
from tests.peers.peer import Ground
from tests.peers.work import Setting
from tests.support.system import ROOT


@pytest.mark.slow
def test_given_no_peer_when_our_side_is_measured_then_what_the_log_counted_is_kept(tmp_path: Path) -> None:
    report, out = tmp_path / "benchmarks.md", tmp_path / "bench-peers.json"
    command = [sys.executable, "-m", "tests.peers", "--only", "ours", "--works", "run", "--stage", "sweep", "--short"]
    command += ["--seconds", "2", "--state", str(tmp_path), "--report", str(report), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (trial,) = results.read(tmp_path / "results.json").about["ours"].sweeps["run"].trials
    assert trial.outcome is not None, trial.failure
    assert trial.outcome.counted >= trial.outcome.per_s > 0
    assert "fsync on, synchronous_commit on" in report.read_text()
    assert msgspec.json.decode(out.read_bytes()) == {}


@pytest.mark.slow
def test_given_states_to_keep_when_measured_then_each_is_an_event_with_its_text(tmp_path: Path) -> None:
    setting: Setting = {"in_flight": 8, "partitions": 4, "pods": 1, "processes": 1}
    with Infra.start(tmp_path / "servers") as infra:
        ours = Ours()
        ours.prepare(Ground(infra, tmp_path, tmp_path))
        found = ours.measure(Ground(infra, tmp_path, tmp_path), "checkpoints", setting, 1.0)
    assert found.counted >= found.per_s > 0
    assert found.cpu_us.keys() == {"pod", "nats", "postgres", "callers"}
