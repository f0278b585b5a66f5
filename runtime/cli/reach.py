"""From options to a client: the broker named by the environment, or that of the data directory's running servers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from runtime.errors import NotConnected

if TYPE_CHECKING:
    from runtime.client import Client
    from runtime.infra import Endpoints

T = TypeVar("T")


class Reach(NamedTuple):
    """Whom to ask, as whom, and for how long (seconds)."""

    data_dir: Path | None
    tenant: str | None
    timeout_s: float
    signing_key: bytes | None = None
    """Proves who asks."""

    def run(self, job: Callable[[Client], Awaitable[T]]) -> T:
        """Runs `job` with a client and gives its result. Raises NotConnected, and what the job raises."""
        return asyncio.run(self._run(job))

    async def _run(self, job: Callable[[Client], Awaitable[T]]) -> T:
        from runtime.client import Client

        # An error of the connection is raised as well: a person needs to read it once.
        logging.getLogger("troupe").setLevel(os.environ.get("RUNTIME_LOG_LEVEL", "CRITICAL"))
        url = nats_url(self.data_dir)
        connecting = Client.connect(
            url,
            self.tenant,
            name="troupe-cli",
            connect_timeout_s=min(self.timeout_s, 5.0),
            signing_key=self.signing_key,
        )
        async with await connecting as client:
            return await job(client)


def nats_url(data_dir: Path | None) -> str:
    """The broker's URL. Raises NotConnected when nothing runs, IncompleteConfiguration."""
    return os.environ.get("RUNTIME_NATS_URL") or running(data_dir).nats_url


def postgres_url(data_dir: Path | None) -> str:
    """The log's URL. Raises NotConnected when nothing runs, IncompleteConfiguration."""
    return os.environ.get("RUNTIME_POSTGRES_URL") or running(data_dir).postgres_url


def running(data_dir: Path | None) -> Endpoints:
    """The servers that run for a data directory, or that the environment names. Raises NotConnected."""
    from runtime.infra import status

    found = status(data_dir)
    if found.endpoints is None:
        raise NotConnected(
            f"no servers run for {found.data_dir}: start them with `runtime dev`, `runtime actors up` or "
            "`runtime infra up`, name another directory with --data, or set RUNTIME_NATS_URL and RUNTIME_POSTGRES_URL"
        )
    return found.endpoints
