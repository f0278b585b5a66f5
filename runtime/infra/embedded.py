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

import msgspec

from runtime.infra import filelock
from runtime.infra.credentials import Credentials, write_private
from runtime.infra.endpoints import Endpoints
from runtime.infra.errors import AlreadyOwned, NotPermitted, ServerFailed
from runtime.infra.filelock import FileLock
from runtime.infra.nats import NatsServer
from runtime.infra.ports import free_port
from runtime.infra.postgres import PostgresServer
from runtime.infra.process import ProcessId

LOCK_NAME = "lock"
RECORD_NAME = "servers.json"
_PORT_ATTEMPTS = 3


class Record(msgspec.Struct, frozen=True):
    """What `servers.json` says, for those who attach."""

    owner: ProcessId
    nats_url: str
    nats_pid: int | None
    postgres_url: str
    postgres_pid: int | None


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
        lock = FileLock(_prepared(data_dir) / LOCK_NAME)
        if not lock.acquire():
            owner = filelock.holder(lock.path)
            who = f"process {owner.pid}" if owner else "another process, which is just starting or ending"
            raise AlreadyOwned(f"the servers of {data_dir} belong to {who}")
        try:
            lock.sign(ProcessId.current())
            (data_dir / RECORD_NAME).unlink(missing_ok=True)
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
        (self.data_dir / RECORD_NAME).unlink(missing_ok=True)
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

    def publish(self) -> None:
        """Tell those who attach later which processes serve now: after a server was started again."""
        write_private(self.data_dir / RECORD_NAME, msgspec.json.format(msgspec.json.encode(self._record())))

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


def read_record(data_dir: Path) -> Record | None:
    """What the live owner of a directory's servers has published; None if there is no owner, or it is not ready."""
    try:
        record = msgspec.json.decode((data_dir / RECORD_NAME).read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    return record if record.owner.is_alive() else None


def endpoints_of(data_dir: Path, record: Record) -> Endpoints:
    return Endpoints(
        nats_url=record.nats_url,
        postgres_url=record.postgres_url,
        embedded=True,
        data_dir=data_dir,
        owner_pid=record.owner.pid,
        nats_pid=record.nats_pid,
        postgres_pid=record.postgres_pid,
    )


def _prepared(data_dir: Path) -> Path:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise NotPermitted(
            f"the data directory {data_dir} cannot be made: {error}. Name another with --data."
        ) from error
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise NotPermitted(f"the data directory {data_dir} is closed to user {os.geteuid()}. Name another with --data.")
    return data_dir


def _start_on_a_free_port(server: NatsServer | PostgresServer, avoid: int) -> None:
    """Between our look at a port and the server's, another process may take it: then try others."""
    for _ in range(_PORT_ATTEMPTS - 1):
        try:
            return server.start()
        except ServerFailed as error:
            if "in use" not in str(error):
                raise
            server.port = free_port(avoid=[avoid, server.port])
    server.start()
