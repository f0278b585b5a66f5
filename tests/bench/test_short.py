"""The benchmark runs, and what it measures is what the log counted. No speed is judged here."""

from __future__ import annotations

import subprocess
import sys

from tests.support.system import ROOT


def test_given_a_short_run_when_it_ends_then_every_figure_was_checked_against_the_log() -> None:
    command = [sys.executable, "-m", "tests.bench", "--seconds", "1", "--only", "latency,hot,http"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    figures = {line.split()[0] for line in done.stdout.splitlines()}
    wanted = {
        "nats_one_in_flight_p50_ms",
        "hot_key_commands_per_s",
        "http_intents_per_s",
        "fsync",
        "synchronous_commit",
    }
    assert wanted <= figures
