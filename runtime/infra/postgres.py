"""A real PostgreSQL 18 with pgvector on loopback, with full durability."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.infra import cluster, packages, process
from runtime.infra.account import install_for, postgres_account
from runtime.infra.credentials import USER, Credentials
from runtime.infra.filelock import FileLock
from runtime.infra.server import Command, Server

_MB = 2**20
_STATUS_LINE = (
    7  # of postmaster.pid: pid, directory, start time, port, socket directory, address, shared memory, status
)
_HBA = """\
# Written at each start.
host all         all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
"""
_CONFIG = """\
# Written at each start; put settings of your own into local.conf beside it.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
password_encryption = 'scram-sha-256'

fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = on
max_wal_size = '{max_wal_mb}MB'
min_wal_size = '256MB'
checkpoint_timeout = '15min'

shared_buffers = '{shared_buffers_mb}MB'
effective_cache_size = '{cache_mb}MB'
maintenance_work_mem = '128MB'
random_page_cost = 1.1
jit = off

timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
include_if_exists = 'local.conf'
"""


class PostgresServer(Server):
    """Postgres on `port`, with its cluster and log in `directory`; the first start creates the cluster.

    The role `troupe` owns the database `troupe`, may create roles and databases, and is no superuser. The extension
    `vector` is installed in each database. Under root it runs as another user (see account).
    """

    name = "PostgreSQL"
    # A fast shutdown: sessions are ended, and a checkpoint is written, so that the next start has nothing to replay.
    death_signal = signal.SIGINT
    stop_signal = signal.SIGINT

    def __init__(self, directory: Path, port: int, credentials: Credentials) -> None:
        super().__init__(directory / "lock", directory / "postgres.log", port)
        self.directory = directory
        self.cluster = directory / "cluster"
        self._credentials = credentials
        directory.mkdir(parents=True, exist_ok=True)
        self._user = postgres_account(self.cluster)
        self._install = install_for(self._user, packages.postgres())

    @property
    def url(self) -> str:
        password = self._credentials.postgres_password
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{cluster.DATABASE}"

    @contextmanager
    def _command(self, lock: FileLock) -> Iterator[Command]:
        if not self.cluster.exists():
            cluster.create(self.cluster, self._install, self._user, self._credentials, lock)
        self._remove_stale_pid_file()
        self._write("postgresql.conf", self._config())
        self._write("pg_hba.conf", _HBA)
        if not (self.cluster / "local.conf").exists():
            self._write(
                "local.conf", "# Settings of your own. They win over postgresql.conf, which each start replaces.\n"
            )
        handle = os.open(self.cluster, os.O_RDONLY | os.O_DIRECTORY)
        try:
            where = cluster.directory_argument(self.cluster, handle, self._user)
            fds = (handle,) if self._user else ()
            yield Command([str(self._install.postgres), "-D", where], self._user, fds)
        finally:
            os.close(handle)

    def _is_ready(self) -> bool:
        """What pg_ctl does: the postmaster writes its status into its pid file."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return False
        return len(lines) > _STATUS_LINE and lines[0] == str(self.pid) and lines[_STATUS_LINE].strip() == "ready"

    def _remove_stale_pid_file(self) -> None:
        """Postgres refuses to start while any process has its predecessor's pid: a zombie, or a stranger after a boot.

        We hold the lock that the predecessor and all its sessions inherited, so it is gone. What the lock does not show
        is a postmaster that a person started by hand; that one works in the cluster, and its file is left alone.
        """
        path = self.cluster / "postmaster.pid"
        try:
            pid = int(path.read_text().partition("\n")[0])
        except (FileNotFoundError, ValueError):
            return
        if process.find(pid) is None or process.works_in(pid, self.cluster) is False:
            path.unlink()

    def _config(self) -> str:
        memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MB
        disk_mb = shutil.disk_usage(self.directory).total // _MB
        return _CONFIG.format(
            port=self.port,
            max_wal_mb=max(512, min(4096, disk_mb // 10)),
            shared_buffers_mb=max(32, min(256, memory_mb // 8)),
            cache_mb=max(64, memory_mb // 2),
        )

    def _write(self, name: str, content: str) -> None:
        """Replace a file of the cluster, never through a link: who owns the cluster may not be who writes here."""
        scratch = self.cluster / f"{name}.new"
        scratch.unlink(missing_ok=True)
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w") as file:
            if self._user:
                os.fchown(file.fileno(), self._user.uid, self._user.gid)
            file.write(content)
        scratch.replace(self.cluster / name)
