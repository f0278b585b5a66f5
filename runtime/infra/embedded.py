"""The owner of one data directory's servers: both run as children of this process, and end with it.

DATA/lock               held by the owner for its life
DATA/servers.json       the owner and where its servers are, while they run
DATA/credentials.json   kept with the data
DATA/nats/              configuration, store and log
DATA/postgres/          cluster and log
"""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.infra import filelock
from runtime.infra.credentials import Credentials
from runtime.infra.endpoints import Endpoints
from runtime.infra.errors import AlreadyOwned, NotPermitted, ServerFailed
from runtime.infra.filelock import FileLock
from runtime.infra.nats import NatsServer
from runtime.infra.ports import free_port
from runtime.infra.postgres import PostgresServer
from runtime.infra.process import ProcessId
from runtime.infra.record import Record, endpoints_of, explained, remove_record, write_record

LOCK_NAME = "lock"
_EFFECTIVE = os.access in os.supports_effective_ids
_PORT_ATTEMPTS = 3
_PROBE_S = 0.05  # longer than anyone looks at the lock to see whether it is held


class Infra:
    """NATS and Postgres of `data_dir`, started by this process. A context manager; make one with `Infra.start`."""

    def __init__(self, data_dir: Path, lock: FileLock, nats: NatsServer, postgres: PostgresServer) -> None:
        self.data_dir = data_dir
        self.nats = nats
        self.postgres = postgres
        self._lock = lock

    @classmethod
    def start(cls, data_dir: Path) -> Self:
        """Start both servers, creating what is missing; about a second, more the first time.

        Raises AlreadyOwned if a live process owns the directory's servers, ServerFailed, PackageMissing, NotPermitted.
        """
        data_dir = data_dir.expanduser().absolute()
        with explained(data_dir):
            lock = FileLock(_prepared(data_dir) / LOCK_NAME)
            if not lock.acquire(_PROBE_S):
                owner = filelock.holder(lock.path)
                who = f"process {owner.pid}" if owner else "another process, which is just starting or ending"
                raise AlreadyOwned(f"the servers of {data_dir} belong to {who}")
            try:
                lock.sign(ProcessId.current())
                remove_record(data_dir)
                credentials = Credentials.load_or_create(data_dir / "credentials.json")
                nats_port = free_port()
                nats = NatsServer(data_dir / "nats", nats_port, credentials.nats_password)
                postgres = PostgresServer(data_dir / "postgres", free_port(avoid=[nats_port]), credentials)
                infra = cls(data_dir, lock, nats, postgres)
                infra._start_servers()
            except BaseException:
                lock.release()
                raise
            return infra

    @property
    def endpoints(self) -> Endpoints:
        return endpoints_of(self.data_dir, self._record())

    def close(self) -> None:
        """Stop both servers and let the directory go. Repeating it is harmless."""
        if not self._lock.is_mine:
            return
        remove_record(self.data_dir)
        try:
            self.nats.stop()
        finally:
            try:
                self.postgres.stop()
            finally:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def revive(self) -> list[str]:
        """Start again, on the same port, what has ended by itself or is of no use. Returns the names of the started."""
        ended = [server for server in (self.nats, self.postgres) if server.revive()]
        if ended:
            self.publish()
        return [server.name for server in ended]

    def publish(self) -> None:
        """Tell those who attach later which processes serve now: after a server was started again."""
        write_record(self.data_dir, self._record())

    def _start_servers(self) -> None:
        try:
            _start_on_a_free_port(self.nats, avoid=self.postgres.port)
            _start_on_a_free_port(self.postgres, avoid=self.nats.port)
            self.publish()
        except BaseException:
            with contextlib.suppress(ServerFailed):  # the first error is the one to read
                self.nats.stop()
            with contextlib.suppress(ServerFailed):
                self.postgres.stop()
            raise

    def _record(self) -> Record:
        return Record(ProcessId.current(), self.nats.url, self.nats.pid, self.postgres.url, self.postgres.pid)


def _prepared(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NotPermitted(
            f"the data directory {data_dir} cannot be made: {error}. Name another with --data."
        ) from error
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK, effective_ids=_EFFECTIVE):
        raise NotPermitted(f"the data directory {data_dir} is closed to user {os.geteuid()}. Name another with --data.")
    return data_dir


def _start_on_a_free_port(server: NatsServer | PostgresServer, avoid: int) -> None:
    """Between our look at a port and the server's, another process may take it: then try others."""
    for _ in range(_PORT_ATTEMPTS - 1):
        try:
            server.start()
        except ServerFailed as error:
            if "in use" not in str(error):
                raise
            server.port = free_port(avoid=[avoid, server.port])
        else:
            return
    server.start()
