"""The broker and the log's database: given by two URLs, or started here as real servers on loopback.

resolution.py  which servers to use               endpoints.py    what is handed out; record.py for others
embedded.py    the owner of one data directory    owner.py        up and down; inspection.py looks
nats.py        nats-server                        postgres.py     PostgreSQL; cluster.py makes a new one
server.py      one server's life                  launch.py       the program that becomes the server
filelock.py    who holds what                     process.py      a pid that cannot be mistaken
account.py     whom Postgres runs as              packages.py     where the binaries are
spawner.py     which thread forks                 ports.py        which ports are safe
"""

from runtime.infra.embedded import Infra
from runtime.infra.endpoints import Endpoints
from runtime.infra.errors import (
    AlreadyOwned,
    IncompleteConfiguration,
    InfraError,
    NotPermitted,
    PackageMissing,
    ServerFailed,
)
from runtime.infra.inspection import Status, status
from runtime.infra.nats import NatsServer
from runtime.infra.owner import down, up, up_detached
from runtime.infra.postgres import PostgresServer
from runtime.infra.resolution import attach_or_start, default_data_dir, given_endpoints, resolve

__all__ = [
    "AlreadyOwned",
    "Endpoints",
    "IncompleteConfiguration",
    "Infra",
    "InfraError",
    "NatsServer",
    "NotPermitted",
    "PackageMissing",
    "PostgresServer",
    "ServerFailed",
    "Status",
    "attach_or_start",
    "default_data_dir",
    "down",
    "given_endpoints",
    "resolve",
    "status",
    "up",
    "up_detached",
]
