"""The simulator in short: histories, the seeds that once found something, and bugs planted to be found."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation import runner
from tests.simulation.history import CLIENTS, EACH, History
from tests.simulation.planted import PLANTED, Planted
from tests.support.system import ROOT

HISTORIES = 100
TRACED = """
import gc, hashlib
from tests.simulation.runner import trace
others = [object() for _ in range({objects})]  # so that nothing has the address that it has in the other process
for seed in {seeds}:
    problems, lines = trace(seed)
    print(seed, problems, len(lines), hashlib.sha256("\\n".join(lines).encode()).hexdigest())
"""


def test_given_histories_under_faults_when_they_have_come_to_rest_then_every_promise_holds() -> None:
    assert runner.run(range(HISTORIES)) == []


def test_given_histories_that_once_found_a_bug_then_they_find_none() -> None:
    assert runner.run(runner.regressions()) == []


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_given_a_planted_bug_when_histories_run_then_it_is_caught(planted: Planted) -> None:
    assert runner.catch(planted) is not None


def test_given_a_history_then_it_has_fifty_commands_and_three_faults() -> None:
    assert CLIENTS * EACH >= 50
    for seed in range(50):
        history = History(seed)
        commands = [op for rounds in history.program for _, ops in rounds for op in ops if op.how != "query"]
        assert len(commands) == CLIENTS * EACH
        assert len(history.faults) >= 3


def test_given_a_seed_when_it_runs_in_another_process_then_every_line_of_its_trace_is_the_same() -> None:
    def traced(hash_seed: int, seeds: list[int]) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", TRACED.format(objects=hash_seed * 977, seeds=seeds)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        return sorted(done.stdout.splitlines())

    seeds = list(range(10))
    assert traced(1, seeds) == traced(2, seeds[::-1])
