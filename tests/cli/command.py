"""`runtime …` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

from tests.support.warm import ROOT, Forked, warm

TIMEOUT_S = 120.0
COMMAND = (sys.executable, "-P", "-m", "runtime")
"""As the script `runtime` does, it does not look for modules in the present directory."""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, which is one JSON value."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Its output, which is JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Runtime:
    """Runs commands with one environment, in one directory."""

    def __init__(self, environment: Mapping[str, str], directory: Path = ROOT) -> None:
        self.environment = {**environment, "PYTHONPATH": str(ROOT), "USER": "tester"}
        self.directory = directory

    def __call__(self, *words: str, stdin: str = "") -> Ended:
        """Runs one command to its end, in a process of its own."""
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            code = _ended(words, self.environment, self.directory, (given, out, err))
            out.seek(0)
            err.seek(0)
            ended = Ended(code, out.read().decode(), err.read().decode())
        assert "Traceback" not in ended.err, ended.err
        return ended

    def ok(self, *words: str, stdin: str = "") -> Ended:
        """Runs a command that must work, and has nothing to complain of."""
        ended = self(*words, stdin=stdin)
        assert (ended.code, ended.err) == (0, ""), ended
        return ended

    def fails(self, code: int, *words: str, stdin: str = "") -> str:
        """Runs a command that must fail with this code and one line, which it gives without `error: `."""
        ended = self(*words, stdin=stdin)
        assert (ended.code, ended.out) == (code, ""), ended
        assert ended.err.startswith("error: "), ended.err
        assert ended.err.count("\n") == 1, ended.err
        return ended.err.removeprefix("error: ").rstrip()

    def start(self, *words: str) -> Running:
        """Starts a command that runs until it is ended."""
        return Running([*COMMAND, *words], self.environment, self.directory)


def _ended(words: Sequence[str], environment: Mapping[str, str], directory: Path, files: Sequence[IO[bytes]]) -> int:
    """The exit code of a command with these standard files. Raises subprocess.TimeoutExpired when it takes too long."""
    command = Forked(warm("runtime").fork(words, environment, directory, [file.fileno() for file in files]))
    try:
        return command.wait(TIMEOUT_S)
    except BaseException:
        command.kill()
        command.wait()
        raise


class Running:
    """A command that runs, and what it has printed so far. A context manager: it is gone at the end."""

    def __init__(self, argv: list[str], environment: Mapping[str, str], directory: Path) -> None:
        self._changed = threading.Condition()
        self.out: list[str] = []
        self.err: list[str] = []
        self.process = subprocess.Popen(
            argv, env=environment, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err)),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()

    def until(self, condition: Callable[[Running], Any]) -> Any:
        """Waits until the condition gives something true of the lines so far, and gives it."""
        end = time.monotonic() + TIMEOUT_S
        with self._changed:
            while not (found := condition(self)):
                assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.out} {self.err}"
                assert time.monotonic() < end, f"it did not come to that: {self.out} {self.err}"
                self._changed.wait(0.2)
        return found

    def news(self, name: str) -> list[dict[str, Any]]:
        """What a child's news said, with --json."""
        return [news for line in self.out if (news := json.loads(line))["name"] == name]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)

    def _read(self, stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    lines.append(line.rstrip("\n"))
                    self._changed.notify_all()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
