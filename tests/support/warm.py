"""`python -m MODULE` in processes of their own, forked from one that has imported what the module imports.

Importing is nearly all that starting a pod, a gateway or a command costs, and the suites start hundreds. Each still has
its own process, environment, directory, standard files and exit, and runs the module as `__main__`; what cannot be had
by forking (a library that is loaded before all others, for one) is started as usual. Tests of what starting or
importing does run `python -m` themselves.
"""

from __future__ import annotations

import atexit
import faulthandler
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
IMPORTED = {
    "runtime": (
        "runtime.cli", "runtime.client", "runtime.infra", "runtime.postgres.connection", "typer._adapters",
        "tests.support.commands",
    ),
    "runtime.host.process": (
        "runtime.host.pods", "runtime.host.settings", "runtime.modules", "runtime.telemetry.logs", "uvloop",
    ),
    "gateway": ("gateway.serve",),
    "actors.intake": ("actors.intents", "actors.lanes", "actors.broker", "faststream.nats", "runtime.telemetry.logs"),
}  # fmt: skip
"""What each of these modules imports, nearly; the modules themselves are not among it."""

MOST_BYTES = 1 << 17
_FILES = 4
_FAULTS = "PYTHONFAULTHANDLER"


class Forked:
    """A process that was forked, as `subprocess.Popen` would show it."""

    def __init__(
        self, status: socket.socket, stdout: TextIOWrapper | None = None, stderr: TextIOWrapper | None = None
    ) -> None:
        self._status = status
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        found = status.recv(100)
        assert found, "the process that forks has ended"
        self.pid = int(found)

    def poll(self) -> int | None:
        """The exit code, minus the signal's number if one ended it; None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises subprocess.TimeoutExpired after so many seconds."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing happens to a process that has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def communicate(self) -> tuple[str | None, str | None]:
        """All that it still says on its pipes, which are closed then, once it has ended."""
        said = [None if pipe is None or pipe.closed else pipe.read() for pipe in (self.stdout, self.stderr)]
        self.wait()
        for pipe in (self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        return said[0], said[1]

    def _end(self) -> None:
        found = self._status.recv(100)
        assert found, f"the process that forked {self.pid} has ended"
        self.returncode = int(found)
        self._status.close()


Process = subprocess.Popen[str] | Forked


class Warm:
    """The process that forks those of one module, begun at the first of them; it and they end with this one."""

    def __init__(self, module: str, also: Sequence[str] = ()) -> None:
        self._modules = (module, *also)
        self._lock = threading.Lock()
        self._forker: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        atexit.register(self.close)

    def fork(
        self, words: Sequence[str], environment: Mapping[str, str], directory: Path, files: Sequence[int]
    ) -> socket.socket:
        """Starts one with these standard files; gives where its pid is told, and later its exit code."""
        order = json.dumps([list(words), dict(environment), str(directory)]).encode()
        assert len(order) < MOST_BYTES
        with self._lock:
            _, orders = self._forker = self._forker or _begin(self._modules)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(orders, [order], [*files, theirs.fileno()])
        return ours

    def close(self) -> None:
        """Ends it, and those that it forked."""
        if self._forker is not None:
            process, orders = self._forker
            self._forker = None
            orders.close()
            process.wait()


def _begin(modules: Sequence[str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.support.warm", str(theirs.fileno()), *modules],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    return process, ours


_warm: dict[tuple[str, ...], Warm] = {}


def _interpreters(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment takes effect before a program's first line."""
    early = ("LANG", "LC_", "LD_", "PYTHON")
    own = {name: value for name, value in environment.items() if name.startswith(early) and name != _FAULTS}
    return own | {"PYTHONPATH": str(ROOT)}


_forking = True


@contextmanager
def never_forked() -> Iterator[None]:
    """Meanwhile every process is started as usual: its memory is its own, and its command line says what it is."""
    global _forking
    before, _forking = _forking, False
    try:
        yield
    finally:
        _forking = before


def warm(module: str, also: Sequence[str] = ()) -> Warm:
    """The one process of this one that forks for a module of `IMPORTED`, and has imported others `also`."""
    return _warm.setdefault((module, *also), Warm(module, also))


def start(
    module: str,
    *words: str,
    env: Mapping[str, str],
    stderr: int | IO[bytes] | None = None,
    also: Sequence[str] = (),
) -> Process:
    """`python -m MODULE WORDS…` in the checkout; its output is a pipe; `stderr` is a file or subprocess.PIPE.

    `also` names what it will import in any case, and takes long.
    """
    if not _forking or module not in IMPORTED or _interpreters(env) != _interpreters(os.environ):
        command = [sys.executable, "-m", module, *words]
        return subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    pipes = [os.pipe() for _ in range(2 if isinstance(stderr, int) else 1)]
    errors = 2 if stderr is None else pipes[-1][1] if isinstance(stderr, int) else stderr.fileno()
    status = warm(module, also).fork(words, env, ROOT, (0, pipes[0][1], errors))
    for _, theirs in pipes:
        os.close(theirs)
    return Forked(status, *[open(ours, encoding="utf-8") for ours, _ in pipes])


class _Forker:
    """Forks for each order, and tells how each process that it forked ended."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._selector = selectors.DefaultSelector()
        self._selector.register(orders, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, int]] = {}
        """What waits for its end → its pid and where its end is told."""

    def serve(self) -> Sequence[str]:
        """Until there is nobody who gives orders. In a forked process, gives its words."""
        while True:
            for key, _ in self._selector.select():
                if key.fd != self._orders.fileno():
                    self._ended(key.fd)
                    continue
                order, files, _, _ = socket.recv_fds(self._orders, MOST_BYTES, _FILES)
                if not order:
                    for pid, _ in self._running.values():
                        os.kill(pid, signal.SIGKILL)
                        os.waitpid(pid, 0)
                    os._exit(0)
                *standard, status = files
                pid = os.fork()
                if pid == 0:
                    return self._become(order, files)
                for file in standard:
                    os.close(file)
                self._tell(status, pid)
                end = os.pidfd_open(pid)
                self._running[end] = pid, status
                self._selector.register(end, selectors.EVENT_READ)

    def _ended(self, end: int) -> None:
        pid, status = self._running.pop(end)
        self._selector.unregister(end)
        os.close(end)
        self._tell(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(status)

    def _tell(self, status: int, what: int) -> None:
        try:
            os.write(status, str(what).encode())
        except BrokenPipeError:  # nobody asks any more
            pass

    def _become(self, order: bytes, files: Sequence[int]) -> Sequence[str]:
        words, environment, directory = json.loads(order)
        for standard, file in enumerate(files[:3]):
            os.dup2(file, standard)
        self._orders.close()
        self._selector.close()
        for file in (*files, *self._running, *[status for _, status in self._running.values()]):
            os.close(file)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        os.chdir(directory)
        if _FAULTS in environment:
            faulthandler.enable()
        given: list[str] = words
        return given


def _ran(module: str) -> int:
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    return 0


if __name__ == "__main__":
    _module, *_also = sys.argv[2:]
    for _imported in (*IMPORTED[_module], *_also):
        importlib.import_module(_imported)
    gc.freeze()
    _words = _Forker(socket.socket(fileno=int(sys.argv[1]))).serve()
    sys.argv[1:] = _words
    _code = _ran(_module)
    # Its own end would free all that was imported, and so copy it: twice the time of most commands.
    threading._shutdown()  # type: ignore[attr-defined]  # waits for its threads, as the interpreter's end does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)
