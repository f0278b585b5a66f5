"""Processes that are kept running: started again when they die, ended in order, and gone when this process is gone.

The kernel ends a child with SIGKILL when its parent dies (on Linux; elsewhere a small process watches), so that no pod
is left behind by a parent that could not say goodbye. What a child prints goes to stderr, each line with the child's
name; its first line of JSON on stdout says that it is up.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from runtime.infra import launch
from runtime.infra.spawner import spawn

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
HEALTHY_AFTER_S = 30.0
"""A child that ran for so long is started again after the first pause."""
MISCONFIGURED = 2
"""The exit code of a child that would fail again in the same way."""
_LAST_WORDS_S = 1.0
_ERROR = "error: "

Say = Callable[[str, str], None]
"""(name, line): something for a person to read."""


class Child:
    """One process that is kept running by a thread of its own.

    Args:
        name: how its lines begin.
        module: it runs as `python -m module`.
        arguments, environment: of that process; PYTHONPATH is set such that it finds the same code as this one.
        say: takes the lines it prints, and what happens to it.
        up: called with what it says of itself when it is up.
        misconfigured: called with its last words when it ends with code 2; then only `restart` starts it again.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        say: Say,
        up: Callable[[str, dict[str, Any]], None],
        misconfigured: Callable[[str, str], None],
    ) -> None:
        self.name = name
        # -P: a file in the present directory must not hide one of our modules; the process looks there by itself.
        self._argv = [sys.executable, "-P", "-m", module, *arguments]
        self._environment = {**environment, "PYTHONPATH": _search_path(environment), "PYTHONUNBUFFERED": "1"}
        self._say = say
        self._up = up
        self._misconfigured = misconfigured
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = threading.Lock()
        self._ending = False
        self._again = threading.Event()
        self._last_words = ""
        self._thread = threading.Thread(target=self._keep, name=f"troupe-{name}", daemon=True)

    def start(self) -> None:
        """Starts the process, and keeps it running from now on."""
        self._thread.start()

    def restart(self) -> None:
        """Ends the process in order and starts it again at once."""
        self._again.set()
        self._signal(signal.SIGTERM)

    def terminate(self) -> None:
        """Asks the process to end, for good. Returns at once."""
        with self._guard:
            self._ending = True
        self._again.set()
        self._signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> None:
        """Waits until a terminated process is gone, and ends it with SIGKILL when it takes longer."""
        self._thread.join(max(timeout_s, 0))
        if self._thread.is_alive():
            self._say(self.name, f"did not end within {timeout_s:.0f} s: killed")
            self._signal(signal.SIGKILL)
            self._thread.join()

    def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            with self._guard:
                if self._ending:
                    return
                self._again.clear()
                self._process = _spawn(self._argv, self._environment)
            started = time.monotonic()
            code = self._watch(self._process)
            if self._ending:
                return
            if self._again.is_set():  # it was ended to be started anew
                pause_s = FIRST_PAUSE_S
                continue
            if code == MISCONFIGURED:
                self._misconfigured(self.name, self._last_words or "it did not say why")
                self._again.wait()
                continue
            if self._last_words:
                self._say(self.name, f"error: {self._last_words}")
            if time.monotonic() - started > HEALTHY_AFTER_S:
                pause_s = FIRST_PAUSE_S
            self._say(self.name, f"ended with {_told(code)}; it is started again in {pause_s:g} s")
            self._again.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _watch(self, process: subprocess.Popen[bytes]) -> int:
        """Passes on what the process prints, and gives its exit code once it is gone."""
        assert process.stdout is not None
        assert process.stderr is not None
        self._last_words = ""
        pumps = [
            threading.Thread(target=self._pump, args=(stream, announces), daemon=True)
            for stream, announces in ((process.stdout, True), (process.stderr, False))
        ]
        for pump in pumps:
            pump.start()
        code = process.wait()
        for pump in pumps:
            pump.join(_LAST_WORDS_S)  # a process that it started may hold the pipe open for ever
        return code

    def _pump(self, stream: IO[bytes], announces: bool) -> None:
        with stream, contextlib.suppress(ValueError, OSError):
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if announces and (news := _announcement(line)) is not None:
                    announces = False
                    self._up(self.name, news)
                    continue
                if line.startswith(_ERROR):  # whether it is the reason for the end shows when the end comes
                    self._last_words = line.removeprefix(_ERROR)
                    continue
                self._say(self.name, line)

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


def _spawn(argv: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    plan: launch.LaunchPlan = {
        "argv": list(argv),
        "environment": None,
        "owner": os.getpid(),
        "death_signal": signal.SIGKILL,
        "parent_death_signal": sys.platform == "linux",
        "uid": None,
        "gid": None,
        "lock_fd": None,
    }
    return spawn(
        lambda: subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, json.dumps(plan)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children in order
        )
    )


def _search_path(environment: Mapping[str, str]) -> str:
    return os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [environment.get("PYTHONPATH")])])


def _announcement(line: str) -> dict[str, Any] | None:
    try:
        news = json.loads(line)
    except ValueError:
        return None
    return news if isinstance(news, dict) else None


def _told(code: int) -> str:
    return signal.Signals(-code).name if -code in {number.value for number in signal.Signals} else f"exit code {code}"
