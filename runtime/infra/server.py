"""One server process: started, seen ready, stopped, killed, and never left behind.

Three things make sure that no server outlives its owner and that no two ever open one store: the kernel signals the
server when the thread that forked it ends (so all are forked by one thread that lives as long as this process); the
server inherits a locked file, which stays locked until its last descendant is gone; and a start waits for that lock.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runtime.infra import launch, process
from runtime.infra.account import Account
from runtime.infra.errors import ServerFailed
from runtime.infra.filelock import FileLock, is_held, signature
from runtime.infra.process import ProcessId
from runtime.infra.spawner import spawn

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.005
_PROBE_S = 0.2
_QUOTED_LINES = 15
_MAX_LOG_BYTES = 10 * 2**20
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Command:
    """How to run a server: the program with its arguments, whom it runs as (None: as we do), what it inherits."""

    argv: list[str]
    account: Account | None = None
    fds: tuple[int, ...] = ()


class Server(ABC):
    """A server on a port and a directory. Not for use by several threads at once.

    `start`, `stop` and `kill` may follow each other any number of times: the port and the data stay.
    """

    name: str
    death_signal: signal.Signals
    stop_signal: signal.Signals
    # Whether the kernel tells the server of its owner's death; elsewhere a small process watches.
    has_parent_death_signal = sys.platform == "linux"

    def __init__(self, lock_path: Path, log_path: Path, port: int) -> None:
        self.port = port
        self.log_path = log_path
        self._lock_path = lock_path
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's pid; None when it does not run."""
        return self._process.pid if self.is_running() and self._process else None

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def is_beyond_use(self) -> bool:
        """Whether it runs, but does its work only after a new start, for which the time has come."""
        return False

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the server and return when it answers. Raises ServerFailed, quoting the log, and leaves nothing behind.

        A predecessor on the same directory that is still shutting down is waited for.
        """
        if self.is_running():
            return
        deadline = time.monotonic() + timeout_s
        lock = self._take_lock()
        try:
            with self._command(lock) as command:
                self._process = self._spawn(command, lock)
        finally:
            lock.release()
        try:
            self._await_ready(deadline, timeout_s)
        except BaseException:
            self.kill()
            raise

    def revive(self) -> bool:
        """Start it again if it has ended by itself or is of no use any more; says whether. Raises ServerFailed."""
        if self.is_running() and not self.is_beyond_use():
            return False
        self.stop()
        self.start()
        return True

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the server in order, and with SIGKILL if that takes longer than `timeout_s`. Harmless when it is down."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._await_gone(timeout_s)

    def kill(self) -> None:
        """SIGKILL the server and all that it forked, as a crash would, and return when all are gone."""
        if self._process is None:
            return
        identity = process.find(self._process.pid)
        family = _kill_family(identity) if identity else []
        self._process.wait()
        self._await_gone(STOP_TIMEOUT_S, family)

    @abstractmethod
    def _command(self, lock: FileLock) -> AbstractContextManager[Command]:
        """Put on disk what the server needs, and say how to run it.

        Whatever it runs must inherit the lock, and so keeps others out.
        """

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the server answers now."""

    def _take_lock(self) -> FileLock:
        """Hold the server's lock. A predecessor whose owner is dead is waited for, and killed if it does not end."""
        lock = FileLock(self._lock_path)
        if not lock.acquire(_PROBE_S):
            signed = signature(self._lock_path)
            if signed and signed.owner.is_alive():
                raise ServerFailed(
                    f"{self.name} was not started: process {signed.owner.pid} already runs one "
                    f"on {self._lock_path.parent}"
                )
            if not lock.acquire(STOP_TIMEOUT_S):
                for remnant in process.having_open(self._lock_path):
                    _kill_family(remnant)
                if not lock.acquire(STOP_TIMEOUT_S):
                    raise ServerFailed(
                        f"{self.name} was not started: a process of its predecessor still holds {self._lock_path}. "
                        "End it and try again."
                    )
        lock.sign(ProcessId.current())
        return lock

    def _spawn(self, command: Command, lock: FileLock) -> subprocess.Popen[bytes]:
        plan: launch.LaunchPlan = {
            "argv": command.argv,
            "environment": _ENVIRONMENT,
            "owner": os.getpid(),
            "death_signal": self.death_signal,
            "parent_death_signal": self.has_parent_death_signal,
            "uid": command.account.uid if command.account else None,
            "gid": command.account.gid if command.account else None,
            "lock_fd": lock.fd,
        }
        with self._open_log() as log:
            child = spawn(
                lambda: subprocess.Popen(
                    [sys.executable, "-I", "-S", launch.__file__, json.dumps(plan)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    pass_fds=(lock.fd, *command.fds),
                    start_new_session=True,  # Ctrl-C is for the owner, who stops its servers last
                )
            )
        if identity := process.find(child.pid):
            lock.sign(identity)
        return child

    def _open_log(self) -> BinaryIO:
        """Append to the log, so that a crash's last words survive the restart; past some size begin a new one."""
        if self.log_path.exists() and self.log_path.stat().st_size > _MAX_LOG_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        log = self.log_path.open("ab")
        self._log_start = log.tell()
        return log

    def _await_ready(self, deadline: float, timeout_s: float) -> None:
        assert self._process is not None
        while not self._is_ready():
            code = self._process.poll()
            if code is not None:
                raise ServerFailed(
                    f"{self.name} ended with status {code} while starting on port {self.port}. {self.quote_log()}"
                )
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{self.name} was not ready on port {self.port} within {timeout_s:g} s. {self.quote_log()}"
                )
            time.sleep(_POLL_S)

    def _await_gone(self, timeout_s: float, family: Sequence[ProcessId] = ()) -> None:
        """Until nobody holds the lock and, as a dying process lets go of its files first, `family` is dead as well."""
        deadline = time.monotonic() + timeout_s
        while is_held(self._lock_path) or any(member.is_alive() for member in family):
            if time.monotonic() > deadline:
                raise ServerFailed(f"a process of {self.name} did not end within {timeout_s:g} s. {self.quote_log()}")
            time.sleep(_POLL_S)
        self._process = None

    def quote_log(self) -> str:
        """The last lines that the server logged since it was started, for a person."""
        try:
            lines = self.log_path.read_bytes()[self._log_start :].decode(errors="replace").splitlines()[-_QUOTED_LINES:]
        except FileNotFoundError:
            lines = []
        return f"The end of its log {self.log_path}:\n" + ("\n".join(f"  {line}" for line in lines) or "  (empty)")


def _kill_family(parent: ProcessId) -> list[ProcessId]:
    """SIGKILL a process and its children, and say which these were.

    It is frozen before it is asked for its children, so that none is forked meanwhile.
    """
    if not parent.is_alive():
        return []
    _signal(parent.pid, signal.SIGSTOP)
    family = [parent, *process.children(parent.pid)]
    for member in family:
        _signal(member.pid, signal.SIGKILL)
    return family


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
