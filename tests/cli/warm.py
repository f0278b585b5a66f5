"""Commands in processes of their own, forked from one that has imported what commands import and done nothing else.

Importing is nearly all that a command costs, and the suites run hundreds. Each still has its own process, environment,
directory, standard files and exit; `Runtime.start`, and the tests of what a command imports, run `python -m runtime`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.support.system import ROOT

IMPORTED = ("runtime.cli", "runtime.client", "runtime.infra", "runtime.postgres.connection", "typer._adapters")
MOST_BYTES = 1 << 17
_FILES = 3


class Warm:
    """The process that forks, begun at the first command."""

    def __init__(self) -> None:
        self._forker: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        atexit.register(self.close)

    def run(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        files: Sequence[IO[bytes]],
        timeout_s: float,
    ) -> int:
        """The exit code of one command, whose standard files are `files`. Raises TimeoutError."""
        order = json.dumps([list(words), dict(environment), str(directory)]).encode()
        assert len(order) < MOST_BYTES
        process, orders = self._forker = self._forker or _begin()
        try:
            orders.settimeout(timeout_s)
            socket.send_fds(orders, [order], [file.fileno() for file in files])
            answer = orders.recv(100)
        except BaseException:
            self.close()  # with the command that goes on
            raise
        assert answer, f"the process that forks has ended with {process.wait()}"
        return int(answer)

    def close(self) -> None:
        """Ends it, and a command that still runs."""
        if self._forker is not None:
            process, orders = self._forker
            self._forker = None
            orders.close()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _begin() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.cli.warm", str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    return process, ours


def serve(orders: socket.socket) -> Sequence[str]:
    """Forks for each order until there is nobody who gives them; in the forked process, gives the command's words."""
    while True:
        order, files, _, _ = socket.recv_fds(orders, MOST_BYTES, _FILES)
        if not order:
            sys.exit(0)
        pid = os.fork()
        if pid == 0:
            orders.close()
            return _become(order, files)
        for file in files:
            os.close(file)
        orders.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _become(order: bytes, files: Sequence[int]) -> Sequence[str]:
    words, environment, directory = json.loads(order)
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    given: list[str] = words
    return given


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    given = serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv[1:] = given
    sys.exit(importlib.import_module("runtime.cli").main())
