"""What can be done to Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from runtime.infra import PostgresServer, process


async def crash(server: PostgresServer, down_s: float) -> None:
    """SIGKILL of the server and all its sessions, and its start after some time."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(down_s)
    await asyncio.to_thread(server.start)


class Copies:
    """A file-level copy of a Postgres cluster: as a disk's snapshot takes it, while sessions live."""

    def __init__(self, server: PostgresServer, directory: Path) -> None:
        self._server = server
        self._copy = directory / "copy"

    def take(self) -> None:
        """Copies the files while every process of the server stands still; replaces the copy before."""
        shutil.rmtree(self._copy, ignore_errors=True)
        with frozen(self._server):
            _copy(self._server.cluster, self._copy)

    def put_back(self) -> None:
        """Kills the server and starts it on the files of the copy."""
        self._server.kill()
        shutil.rmtree(self._server.cluster)
        _copy(self._copy, self._server.cluster)
        self._server.start()


@contextlib.contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """While it lasts, every process of the server stands still."""
    assert server.pid is not None
    family = [server.pid, *[child.pid for child in process.children(server.pid)]]
    stopped = [pid for pid in family if _signal(pid, signal.SIGSTOP)]
    try:
        yield
    finally:
        for pid in stopped:
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # a session that ended meanwhile
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)  # with owners: Postgres insists on its own
