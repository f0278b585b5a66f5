"""Forking from a thread that lives as long as this process does.

On Linux the signal that a child asks for at its parent's death (prctl(2), PR_SET_PDEATHSIG) comes when the *thread*
that forked it ends. A server started from a worker thread would be shut down when that worker is done.
"""

import os
import queue
import subprocess
import threading
from collections.abc import Callable


class _Spawner:
    """A thread that forks, and lives until this process ends: on Linux the parent-death signal follows the *thread*."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="troupe-spawner", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._jobs.get()()

    def call(self, start: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
        answers: queue.SimpleQueue[subprocess.Popen[bytes] | BaseException] = queue.SimpleQueue()

        def job() -> None:
            try:
                answers.put(start())
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
                answers.put(error)

        self._jobs.put(job)
        answer = answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer


_spawner: _Spawner | None = None
_spawner_guard = threading.Lock()


def spawn(start: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """Run `start` on this process's spawner thread, from any thread."""
    global _spawner
    with _spawner_guard:
        if _spawner is None:
            _spawner = _Spawner()
    return _spawner.call(start)


def _forget_spawner() -> None:
    """A forked child has no copy of the thread."""
    global _spawner, _spawner_guard
    _spawner, _spawner_guard = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_spawner)
