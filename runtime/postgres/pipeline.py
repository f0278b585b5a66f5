"""Prepared statements in one round trip, straight on libpq.

psycopg's cursors take some 50 µs a statement (a cursor each, adaptation of values that are literals already, a turn of
the event loop for each fetch), and a commit is six to ten statements. For a single command that was 0.48 ms of CPU
time, and is 0.20 this way; from begin to end it was 0.85 ms, and is 0.52.

Source: "Pipeline Mode" in PostgreSQL's libpq documentation.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import psycopg
from psycopg import errors, pq
from psycopg.adapt import Transformer

from runtime.postgres.connection import Connection
from runtime.postgres.queries import query

Statement = tuple[str, tuple[str, ...]]
"""The name of a statement of queries.sql, and its parameters as text."""

LOOK_S = 0.5
"""How often to look at the socket unasked: uvloop stops watching one that is in error, and says so to nobody."""

_PLACEHOLDER = re.compile(r"%[s%]")


class Pipeline:
    """Runs statements on a connection that nobody else uses meanwhile."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._encoding = connection.info.encoding
        self._prepared: set[str] = set()

    async def run(
        self, statements: Sequence[Statement], *, begin: bool = False, end: Literal["COMMIT", "ROLLBACK"] | None = None
    ) -> list[list[Any]]:
        """The rows of each statement, run after BEGIN and before `end` when these are asked for.

        Raises psycopg's error for the first statement that failed (the others were not run) or for the connection.
        Roll back with `end`: psycopg's own ROLLBACK takes the prepared statements away.
        """
        pgconn = self._pgconn
        pgconn.enter_pipeline_mode()
        asked: list[str] = []
        if begin:
            pgconn.send_query_params(b"BEGIN", None)
            asked.append("")
        for name, parameters in statements:
            if name not in self._prepared and (prepare := f"prepare {name}") not in asked:
                pgconn.send_prepare(name.encode(), sql_of(name))
                asked.append(prepare)
            pgconn.send_query_prepared(name.encode(), [parameter.encode() for parameter in parameters])
            asked.append(name)
        if end is not None:
            pgconn.send_query_params(end.encode(), None)
            asked.append("")
        pgconn.pipeline_sync()
        results = await self._exchange()
        pgconn.exit_pipeline_mode()
        return self._rows(asked, results)

    async def _exchange(self) -> list[pq.abc.PGresult]:
        """Sends what is buffered and receives the results up to the synchronisation point."""
        loop = asyncio.get_running_loop()
        pgconn, socket = self._pgconn, self._pgconn.socket
        done: asyncio.Future[list[pq.abc.PGresult]] = loop.create_future()
        results: list[pq.abc.PGresult] = []
        timer: asyncio.TimerHandle

        def unwatch() -> None:
            # At once, and not when `done` is awaited: libpq closes a broken socket, whose number the next one gets.
            loop.remove_reader(socket)
            loop.remove_writer(socket)
            timer.cancel()

        def receive() -> None:
            broken: psycopg.Error | None = None
            synced = False
            try:
                pgconn.consume_input()
            except psycopg.Error as error:
                broken = error  # the server's last words may still have come
            try:
                synced = self._collect(results)
            except psycopg.Error as error:
                broken = broken or error
            if not synced and broken is None and pgconn.status != pq.ConnStatus.OK:
                broken = psycopg.OperationalError(pgconn.get_error_message(self._encoding))
            if synced or broken is not None:
                unwatch()
                if done.done():
                    return
                if broken is None:
                    done.set_result(results)
                else:
                    done.set_exception(self._error_in(results) or broken)

        def look() -> None:
            nonlocal timer
            timer = loop.call_later(LOOK_S, look)
            receive()

        def send() -> None:
            try:
                if not pgconn.flush():
                    loop.remove_writer(socket)
            except psycopg.Error:
                receive()  # it says why

        timer = loop.call_later(LOOK_S, look)
        loop.add_reader(socket, receive)
        try:
            if pgconn.flush():
                loop.add_writer(socket, send)
            elif pgconn.status != pq.ConnStatus.OK:
                receive()
            return await done
        finally:
            if not done.done() or done.cancelled():
                unwatch()

    def _collect(self, results: list[pq.abc.PGresult]) -> bool:
        """Takes the results that have come; whether the synchronisation point has."""
        ended = False
        while not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                if ended:  # one ends a statement, two in a row that there is nothing more
                    return False
                ended = True
                continue
            ended = False
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                return True
            results.append(result)
        return False

    def _rows(self, asked: Sequence[str], results: Sequence[pq.abc.PGresult]) -> list[list[Any]]:
        rows: list[list[Any]] = []
        failed: Exception | None = None
        for name, result in zip(asked, results, strict=True):
            if result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
                if name.startswith("prepare "):
                    self._prepared.add(name[8:])
                elif name:
                    rows.append(self._decoded(result))
            elif failed is None:
                failed = errors.error_from_result(result, self._encoding)
        if failed is not None:
            raise failed
        return rows

    def _decoded(self, result: pq.abc.PGresult) -> list[Any]:
        if not result.ntuples:
            return []
        transformer = Transformer.from_context(self._connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def _error_in(self, results: Sequence[pq.abc.PGresult]) -> Exception | None:
        for result in results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                return errors.error_from_result(result, self._encoding)
        return None


@cache
def sql_of(name: str) -> bytes:
    """A statement with libpq's placeholders ($1, $2, …) for psycopg's (%s)."""
    number = 0

    def numbered(found: re.Match[str]) -> str:
        nonlocal number
        if found[0] == "%%":
            return "%"
        number += 1
        return f"${number}"

    return _PLACEHOLDER.sub(numbered, query(name)).encode()
