"""What the owner of a data directory tells those who attach: `DATA/servers.json`, there while the servers run."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from runtime.infra.credentials import write_private
from runtime.infra.endpoints import Endpoints
from runtime.infra.errors import NotPermitted
from runtime.infra.process import ProcessId

RECORD_NAME = "servers.json"


class Record(msgspec.Struct, frozen=True):
    """What `servers.json` says, for those who attach."""

    owner: ProcessId
    nats_url: str
    nats_pid: int | None
    postgres_url: str
    postgres_pid: int | None


def write_record(data_dir: Path, record: Record) -> None:
    """Readable by the owner's user only: it holds passwords."""
    write_private(data_dir / RECORD_NAME, msgspec.json.format(msgspec.json.encode(record)))


def remove_record(data_dir: Path) -> None:
    """For the holder of the directory's lock only."""
    (data_dir / RECORD_NAME).unlink(missing_ok=True)


def read_record(data_dir: Path) -> Record | None:
    """What the live owner of a directory's servers has published; None if there is no owner, or it is not ready."""
    try:
        with explained(data_dir):
            record = msgspec.json.decode((data_dir / RECORD_NAME).read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
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


@contextlib.contextmanager
def explained(data_dir: Path) -> Iterator[None]:
    """Turn a refusal by the operating system into an error that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise NotPermitted(
            f"{error.filename or data_dir} is closed to user {os.geteuid()} ({error.strerror}): another user "
            f"has run the servers of {data_dir}. "
            "Be that user, change the owner of all that is in it, or name another with --data."
        ) from error
