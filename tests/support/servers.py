"""The servers a test run uses: given by URL, in containers, or embedded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Servers(NamedTuple):
    """Where NATS and Postgres are; `how` is given, containers or embedded."""

    nats_url: str
    postgres_url: str
    how: str


@contextmanager
def servers(data_dir: Path) -> Iterator[Servers]:
    """The servers of this run.

    RUNTIME_TEST_SERVERS chooses `given` (RUNTIME_NATS_URL and RUNTIME_POSTGRES_URL), `containers` (Docker must answer)
    or `embedded`; without it, given URLs are used, else embedded servers.
    """
    how = os.environ.get("RUNTIME_TEST_SERVERS") or ("given" if "RUNTIME_NATS_URL" in os.environ else "embedded")
    if how == "given":
        yield Servers(os.environ["RUNTIME_NATS_URL"], os.environ["RUNTIME_POSTGRES_URL"], how)
    elif how == "containers":
        with _containers() as found:
            yield found
    else:
        from runtime.infra import resolve

        with resolve(data_dir) as endpoints:
            yield Servers(endpoints.nats_url, endpoints.postgres_url, how)


@contextmanager
def _containers() -> Iterator[Servers]:
    from testcontainers.nats import NatsContainer
    from testcontainers.postgres import PostgresContainer

    broker = NatsContainer("nats:2.11-alpine", jetstream=True)
    database = PostgresContainer("pgvector/pgvector:pg17", driver=None)
    with broker, database:
        yield Servers(broker.nats_uri(), database.get_connection_url(), "containers")


def docker_answers() -> bool:
    """Whether a Docker engine runs here."""
    try:
        import docker

        docker.from_env(timeout=2).ping()
    except Exception:
        return False
    return True
