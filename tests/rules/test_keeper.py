"""The keeper: nothing that a broken engine's test left goes on, whatever session it is in."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

LEAVES = """
import subprocess, sys, time
sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
nothing = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.DEVNULL)
print(subprocess.Popen(sleeps, start_new_session=True, **nothing).pid, flush=True)
"""
HANGS = "time.sleep(600)"


@pytest.mark.parametrize(("program", "limit_s"), [(LEAVES, 900.0), (LEAVES + HANGS, 3.0)], ids=["ends", "hangs"])
def test_given_a_command_that_leaves_a_process_in_a_session_of_its_own_when_it_is_over_then_that_is_ended(
    program: str, limit_s: float
) -> None:
    keeper = [sys.executable, "-m", "tests.rules.keeper", str(limit_s), sys.executable, "-c", program]
    said = subprocess.run(keeper, capture_output=True, text=True, check=True).stdout
    assert [pid for pid in map(int, said.split()) if psutil.pid_exists(pid)] == []
    assert said or limit_s < 900.0, "it left a process, and said which"
