"""A process that was forked is as one that was started: its words, environment, output, signals and exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.system import ROOT
from tests.support.warm import Forked, Warm, start

POD = "runtime.host.process"
WAITING = "tests.support.limited"
NOWHERE = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "RUNTIME_NATS_URL": "nats://127.0.0.1:9",
    "RUNTIME_POSTGRES_URL": "postgresql://nobody@127.0.0.1:9/none",
}
"""A pod's, which waits for its servers for ever."""


def test_given_a_command_when_forked_then_it_says_and_ends_as_one_that_is_started() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUNTIME_LEASE_TTL_S": "no"}
    for module, words in (("runtime", ("version",)), (POD, ("nowhere",))):
        forked = start(module, *words, env=environment, stderr=subprocess.PIPE)
        assert isinstance(forked, Forked)
        command = [sys.executable, "-m", module, *words]
        started = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (*forked.communicate(), forked.returncode) == (started.stdout, started.stderr, started.returncode)
    assert forked.returncode == 2
    assert "RUNTIME_LEASE_TTL_S" in started.stderr


def test_given_a_process_that_runs_when_it_is_frozen_and_killed_then_that_is_what_ended_it() -> None:
    pod = start(POD, WAITING, env=NOWHERE, stderr=subprocess.PIPE)
    assert isinstance(pod, Forked)
    pod.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        pod.wait(0.01)
    assert pod.poll() is None
    pod.kill()
    assert pod.wait() == pod.poll() == -signal.SIGKILL
    pod.terminate()
    pod.communicate()


def test_given_what_only_a_new_process_can_have_when_started_then_it_is_not_forked() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDEVMODE": "1"}
    process = start("runtime", "version", env=environment)
    assert isinstance(process, subprocess.Popen)
    assert process.communicate()[0]


def test_given_forked_processes_when_the_one_that_forks_is_closed_then_they_end_with_it(tmp_path: Path) -> None:
    forks = Warm(POD)
    with (tmp_path / "out").open("wb") as file:
        status = forks.fork((WAITING,), NOWHERE, ROOT, (0, file.fileno(), file.fileno()))
    pod = Forked(status)
    forks.close()
    status.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pod.pid, 0)
