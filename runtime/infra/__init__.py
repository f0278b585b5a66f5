"""The broker and the log's database: given by two URLs, or started here as real servers on loopback.

resolve.py     which servers to use            endpoints.py   what is handed out
embedded.py    the owner of one data directory  owner.py       up, down and status, and the detached owner
nats.py        nats-server                     postgres.py    PostgreSQL; cluster.py makes a new one
server.py      one server's life               launch.py      the program that becomes the server
filelock.py    who holds what                  process.py     a pid that cannot be mistaken
account.py     whom Postgres runs as           packages.py    where the binaries are
"""

from runtime.infra.embedded import Infra
from runtime.infra.endpoints import Endpoints
from runtime.infra.errors import InfraError
from runtime.infra.nats import NatsServer
from runtime.infra.postgres import PostgresServer
from runtime.infra.resolve import default_data_dir, resolve

__all__ = ["Endpoints", "Infra", "InfraError", "NatsServer", "PostgresServer", "default_data_dir", "resolve"]
