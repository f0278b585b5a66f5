"""A connection that is made when it is needed, again after it broke, and used by one task at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg

from runtime.errors import NotConnected
from runtime.host.ports import LogUnavailable
from runtime.postgres.connection import Connection, close, connect


class Session:
    """Runs single statements. `settings` are the session's; see connection.connect."""

    def __init__(self, url: str, settings: Mapping[str, str], *, role: str | None = "troupe_pod") -> None:
        self._url = url
        self._settings = settings
        self._role = role
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    async def run(self, statement: LiteralString, parameters: Any = (), *, timeout_s: float | None = None) -> list[Any]:
        """The statement's rows. Raises LogUnavailable when the connection broke or no answer came in time."""
        async with self.connection() as connection, asyncio.timeout(timeout_s):
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """The connection, for one task at a time; an error in the block makes the next user connect anew."""
        async with self._lock:
            try:
                if self._connection is None:
                    self._connection = await connect(self._url, role=self._role, settings=self._settings)
                yield self._connection
            except (psycopg.Error, OSError, TimeoutError, NotConnected) as error:
                await self._drop()
                raise LogUnavailable(f"Postgres did not answer: {error or type(error).__name__}") from error
            except asyncio.CancelledError:
                await self._drop()  # a statement may be under way: its answer must not be taken for another's
                raise

    async def close(self) -> None:
        """Closes the connection."""
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        await close(connection)
