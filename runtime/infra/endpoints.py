"""Where the broker and the log are: two URLs, and who keeps them alive."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What a process needs to reach NATS and Postgres. Both URLs hold credentials, and so `repr` leaves them out.

    `embedded` is False when the URLs were given by the environment; then the other fields are None. Otherwise the
    servers listen on 127.0.0.1 and are gone when the process `owner_pid` is gone. The Postgres role of
    `postgres_url` owns its database and may create others, but is no superuser, so that row-level policies hold.
    """

    nats_url: str = field(repr=False)
    postgres_url: str = field(repr=False)
    embedded: bool
    data_dir: Path | None = None
    owner_pid: int | None = None
    nats_pid: int | None = None
    postgres_pid: int | None = None
