"""The servers a test run uses: given by URL, in containers, or embedded."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple


class Servers(NamedTuple):
    """Where NATS and Postgres are; `how` is given, containers or embedded."""

    nats_url: str
    postgres_url: str
    how: str


NATS_IMAGE = "nats:2.11-alpine"
POSTGRES_IMAGE = "pgvector/pgvector:pg17"
"""With the extension `vector`, and transaction_timeout, which came with 17."""


@contextmanager
def servers(data_dir: Path) -> Iterator[Servers]:
    """The servers of this run, see `choice`."""
    how = choice(os.environ, docker_answers)
    if how == "given":
        yield Servers(os.environ["RUNTIME_NATS_URL"], os.environ["RUNTIME_POSTGRES_URL"], how)
    elif how == "containers":
        with ExitStack() as running:
            with _own_warnings():
                broker, database = [running.enter_context(one) for one in containers()]
            yield Servers(broker.nats_uri(), database.get_connection_url(), how)
    else:
        from runtime.infra import resolve

        with resolve(data_dir) as endpoints:
            yield Servers(endpoints.nats_url, endpoints.postgres_url, how)


def choice(environment: Mapping[str, str], docker: Callable[[], bool]) -> str:
    """Given servers, else containers where Docker answers, else embedded ones.

    RUNTIME_TEST_SERVERS asks for one of them: `given` (RUNTIME_NATS_URL and RUNTIME_POSTGRES_URL), `containers` or
    `embedded`. Raises ValueError for another word, or for one URL without the other.
    """
    urls = [name for name in ("RUNTIME_NATS_URL", "RUNTIME_POSTGRES_URL") if environment.get(name)]
    asked = environment.get("RUNTIME_TEST_SERVERS")
    if asked and asked not in ("given", "containers", "embedded"):
        raise ValueError(f"RUNTIME_TEST_SERVERS is {asked!r}: it must be given, containers or embedded")
    if asked == "given" or (urls and not asked):
        if len(urls) < 2:
            raise ValueError(f"given servers need both URLs, and only {urls or 'none'} is set")
        return "given"
    return asked or ("containers" if docker() else "embedded")


def containers(**docker: Any) -> tuple[Any, Any]:
    """NATS with JetStream, and Postgres with pgvector, as containers to be started; `docker` is for Docker's client."""
    with _own_warnings():
        try:
            from testcontainers.community.nats import NatsContainer
            from testcontainers.community.postgres import PostgresContainer
        except ImportError:  # as older versions have them
            from testcontainers.nats import NatsContainer
            from testcontainers.postgres import PostgresContainer

    broker = NatsContainer(NATS_IMAGE, jetstream=True, docker_client_kw=docker)
    return broker, PostgresContainer(POSTGRES_IMAGE, driver=None, docker_client_kw=docker)


@contextmanager
def _own_warnings() -> Iterator[None]:
    """testcontainers warns of what its own modules use, and warnings are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def docker_answers() -> bool:
    """Whether a Docker engine runs here; a process of its own asks, since Docker's client leaves its sockets open."""
    ping = "import docker; docker.from_env(timeout=2).ping()"
    try:
        done = subprocess.run([sys.executable, "-c", ping], capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
