"""A process that was forked is as one that was started: its words, environment, output, signals and exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.system import ROOT
from tests.support.warm import Forked, Warm, start


def test_given_a_command_when_forked_then_it_says_and_ends_as_one_that_is_started() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUNTIME_LEASE_TTL_S": "no"}
    for module, words in (("runtime", ("version",)), ("runtime.host.process", ("nowhere",))):
        forked = start(module, *words, env=environment, stderr=subprocess.PIPE)
        assert isinstance(forked, Forked)
        command = [sys.executable, "-m", module, *words]
        started = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (*forked.communicate(), forked.returncode) == (started.stdout, started.stderr, started.returncode)
    assert forked.returncode == 2
    assert "RUNTIME_LEASE_TTL_S" in started.stderr


def test_given_a_process_that_runs_when_it_is_frozen_and_killed_then_that_is_what_ended_it() -> None:
    gateway = start("gateway", "--port", "0", env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    assert isinstance(gateway, Forked)
    assert gateway.stdout is not None
    assert json.loads(gateway.stdout.readline())["pid"] == gateway.pid
    gateway.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        gateway.wait(0.01)
    assert gateway.poll() is None
    gateway.kill()
    assert gateway.wait() == gateway.poll() == -signal.SIGKILL
    gateway.terminate()
    gateway.communicate()


def test_given_what_only_a_new_process_can_have_when_started_then_it_is_not_forked() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDEVMODE": "1"}
    process = start("runtime", "version", env=environment)
    assert isinstance(process, subprocess.Popen)
    assert process.communicate()[0]


def test_given_forked_processes_when_the_one_that_forks_is_closed_then_they_end_with_it(tmp_path: Path) -> None:
    forks = Warm("gateway")
    with (tmp_path / "out").open("wb") as file:
        fork = forks.fork(("--port", "0"), {**os.environ}, ROOT, (0, file.fileno(), file.fileno()))
    gateway = Forked(fork)
    forks.close()
    fork.close()
    with pytest.raises(ProcessLookupError):
        os.kill(gateway.pid, 0)
