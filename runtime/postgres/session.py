"""A connection that is made when it is needed, again after it broke or fell silent, and used by one task at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, LiteralString

import psycopg

from runtime.errors import NotConnected
from runtime.host.ports import LogUnavailable
from runtime.postgres.connection import Connection, close, connect, cut

GRACE_S = 2.0
"""How much longer than the server may take over a statement its answer is waited for."""

BLOCK_STATEMENTS = 3
"""Statements that may each take their whole time while somebody has the connection."""


class Session:
    """Runs single statements.

    Args:
        statement_timeout_s: the server gives up a statement after it; one that says nothing even then is given up.
        settings: further ones of the session; see connection.connect.
    """

    def __init__(
        self,
        url: str,
        statement_timeout_s: float,
        settings: Mapping[str, str] | None = None,
        *,
        role: str | None = "troupe_pod",
    ) -> None:
        self._url = url
        self._timeout_s = statement_timeout_s
        self._settings = {"statement_timeout": f"{statement_timeout_s * 1000:.0f}ms"} | dict(settings or {})
        self._role = role
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()

    async def run(self, statement: LiteralString, parameters: Any = (), *, timeout_s: float | None = None) -> list[Any]:
        """The statement's rows. Raises LogUnavailable when the connection broke or no answer came in time."""
        async with self.connection(timeout_s or self._timeout_s + GRACE_S) as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []

    @asynccontextmanager
    async def connection(self, timeout_s: float | None = None) -> AsyncIterator[Connection]:
        """The connection, for one task at a time; an error in the block makes the next user connect anew.

        After `timeout_s`, or when every statement must have been answered, the connection is ended.
        """
        async with self._lock:
            try:
                if self._connection is None:
                    self._connection = await connect(self._url, role=self._role, settings=self._settings)
                limit_s = timeout_s or BLOCK_STATEMENTS * self._timeout_s + GRACE_S
                # Its end, and no cancellation: psycopg would wait for an answer to that as well.
                ending = asyncio.get_running_loop().call_later(limit_s, cut, self._connection)
                try:
                    yield self._connection
                finally:
                    ending.cancel()
            except (psycopg.Error, OSError, TimeoutError, NotConnected) as error:
                await self._drop()
                raise LogUnavailable(f"Postgres did not answer: {error or type(error).__name__}") from error
            except asyncio.CancelledError:
                await self._drop()  # a statement may be under way: its answer must not be taken for another's
                raise

    async def close(self) -> None:
        """Closes the connection. Whoever uses it still is told first, by an error."""
        if self._connection is not None:
            # A socket that is closed under its user stays watched by the event loop: nobody is told, and the process
            # is aborted as soon as another connection gets its number.
            cut(self._connection)
        async with self._lock:
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        await close(connection)
