"""What can be done to Postgres."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from runtime.infra import PostgresServer

LEFT_OUT = ("pg_wal", "postmaster.pid", "postmaster.opts", "pg_replslot")
"""What a backup of a cluster's files leaves out; the log that it needs is copied at its end."""


async def crash(server: PostgresServer, down_s: float) -> None:
    """SIGKILL of the server and all its sessions, and its start after some time."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(down_s)
    await asyncio.to_thread(server.start)


class Backup:
    """One backup of a cluster's files, taken while it works, as pg_backup_start and pg_backup_stop mean it.

    `superuser_url` is for those two functions.
    """

    def __init__(self, server: PostgresServer, superuser_url: str, directory: Path) -> None:
        self._server = server
        self._url = superuser_url
        self._copy = directory / "backup"

    def take(self, certain: Callable[[], None]) -> float:
        """Copies the files; replaces the backup before. What was committed before the time it gives (Unix s) is in it.

        Calls `certain` at that time.
        Raises psycopg.Error when the server goes away meanwhile: then there is no backup.
        """
        shutil.rmtree(self._copy, ignore_errors=True)
        cluster = self._server.cluster
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SELECT pg_backup_start('chaos', fast => true)")
            shutil.copytree(cluster, self._copy, ignore=_left_out(cluster), copy_function=_copy_if_there)
            taken = time.time()
            certain()
            stopped = connection.execute("SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)")
            label: str = stopped.fetchall()[0][0]
        (self._copy / "backup_label").write_text(label)
        (self._copy / "pg_replslot").mkdir()
        first = next(line.rstrip(")").split()[-1] for line in label.splitlines() if line.startswith("START WAL"))
        wal = self._copy / "pg_wal"
        (wal / "archive_status").mkdir(parents=True)
        for segment in sorted((cluster / "pg_wal").iterdir()):
            if segment.is_file() and segment.name >= first:
                _copy_if_there(str(segment), str(wal / segment.name))
        return taken

    def put_back(self, before_start: Callable[[], None]) -> None:
        """Kills the server and starts it on the files of the backup; calls `before_start` in between."""
        cluster, owner = self._server.cluster, self._server.cluster.stat()
        self._server.kill()
        shutil.rmtree(cluster)
        subprocess.run(["cp", "-r", str(self._copy), str(cluster)], check=True)
        for path in (cluster, *cluster.rglob("*")):  # Postgres insists on its own files, which nobody else may read
            os.chown(path, owner.st_uid, owner.st_gid)
            path.chmod(0o700 if path.is_dir() else 0o600)
        before_start()
        self._server.start()


def _left_out(cluster: Path) -> Callable[[str, list[str]], list[str]]:
    def ignore(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(directory) == cluster and name in LEFT_OUT]

    return ignore


def _copy_if_there(source: str, target: str) -> None:
    """Files come and go while the server works; what its log needs of them, the log has."""
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        pass
