"""What is known of a data directory's servers, without starting or changing anything."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from runtime.infra import filelock
from runtime.infra.embedded import LOCK_NAME
from runtime.infra.endpoints import Endpoints
from runtime.infra.record import endpoints_of, read_record
from runtime.infra.resolution import default_data_dir, given_endpoints

_PROBE_TIMEOUT_S = 1.0
_DEFAULT_PORTS = {"nats": 4222, "tls": 4222, "postgresql": 5432, "postgres": 5432}


@dataclass(frozen=True, slots=True)
class Status:
    """`state` is "given" (named by the environment), "running", "changing" (starting or ending) or "stopped".

    The servers' fields say whether something accepts connections at their address now, not whether it is healthy.
    """

    state: Literal["given", "running", "changing", "stopped"]
    data_dir: Path | None
    endpoints: Endpoints | None
    nats_accepts: bool
    postgres_accepts: bool


def status(data_dir: Path | None = None) -> Status:
    """Look at the servers that `resolve(data_dir)` would use. Raises IncompleteConfiguration."""
    if (given := given_endpoints()) is not None:
        return Status("given", None, given, _accepts(given.nats_url), _accepts(given.postgres_url))
    data_dir = (data_dir or default_data_dir()).expanduser().absolute()
    if (record := read_record(data_dir)) is not None:
        endpoints = endpoints_of(data_dir, record)
        return Status("running", data_dir, endpoints, _accepts(endpoints.nats_url), _accepts(endpoints.postgres_url))
    state: Literal["changing", "stopped"] = "changing" if filelock.is_held(data_dir / LOCK_NAME) else "stopped"
    return Status(state, data_dir, None, nats_accepts=False, postgres_accepts=False)


def _accepts(url: str) -> bool:
    """Of several servers, in one URL (a cluster) or in several, the first."""
    address = urlsplit(url.partition(" ")[0].partition(",")[0])
    try:
        port = address.port or _DEFAULT_PORTS.get(address.scheme, 0)
        socket.create_connection((address.hostname or "127.0.0.1", port), timeout=_PROBE_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True
