"""A process of load, from its start to what it saw."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.bench.tally import READY, Load, Tally
from tests.support.system import ROOT


class Callers:
    """Runs `python -m <module> '<load as JSON>'`.

    Args:
        environment: the process's; this one's, and where our code is, by default.
        python: its interpreter.
    """

    def __init__(
        self, module: str, load: Load, environment: Mapping[str, str] | None = None, python: Path | None = None
    ) -> None:
        command = [str(python or sys.executable), "-m", module, msgspec.json.encode(load).decode()]
        own = environment or {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(command, cwd=ROOT, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def await_ready(self) -> None:
        """Returns when the process is up. Raises RuntimeError when it is not going to be."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != READY:
            code = self._process.wait()
            raise RuntimeError(f"a process of the load ended before it began, with exit code {code}")

    def begin(self, begin_at: float) -> None:
        """Says when the measurement begins (Unix seconds); the load begins at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{begin_at!r}\n".encode())
        self._process.stdin.close()

    def finish(self) -> Tally:
        """What the process saw, once it has ended. Raises RuntimeError when it failed."""
        assert self._process.stdout is not None
        found = self._process.stdout.read()
        if self._process.wait() != 0:
            raise RuntimeError(f"a process of the load ended with exit code {self._process.returncode}")
        return msgspec.msgpack.decode(found, type=Tally)

    def close(self) -> None:
        """Ends it, if it goes on."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
