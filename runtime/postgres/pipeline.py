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

from runtime.postgres.connection import Connection, cut
from runtime.postgres.queries import query

Statement = tuple[str, tuple[str | bytes, ...]]
"""The name of a statement of queries.sql, and its parameters: as text, or as bytes in binary form."""

LOOK_S = 0.5
"""How often to look at the socket unasked: uvloop stops watching one that is in error, and says so to nobody."""

_PLACEHOLDER = re.compile(r"%[s%]")


class Pipeline:
    """Runs statements on a connection that nobody else uses from then on. Close it before the connection.

    One that has not answered after `silent_after_s` is ended.
    """

    def __init__(self, connection: Connection, silent_after_s: float = 60.0) -> None:
        self._silent_after_s = silent_after_s
        self._asked_at = 0.0
        self._connection = connection
        self._pgconn = connection.pgconn
        self._encoding = connection.info.encoding
        self._loop = asyncio.get_running_loop()
        self._socket = self._pgconn.socket
        self._watched = False
        self._prepared: set[str] = set()
        self._results: list[pq.abc.PGresult] = []
        self._done: asyncio.Future[list[pq.abc.PGresult]] = self._loop.create_future()
        self._done.cancel()
        self._timer = self._loop.call_later(LOOK_S, self._look)
        self._pgconn.enter_pipeline_mode()

    def close(self) -> None:
        """Leaves the connection's socket alone."""
        self._unwatch()
        self._timer.cancel()
        if not self._done.done():
            self._done.set_exception(psycopg.OperationalError("the connection was closed"))

    async def run(
        self,
        statements: Sequence[Statement],
        *,
        begin: bool = False,
        end: Literal["COMMIT", "ROLLBACK"] | None = None,
        reads: bool = True,
    ) -> list[list[Any]]:
        """The rows of each statement, run after BEGIN and before `end` when these are asked for.

        With `reads=False` nobody looks at the rows: they are left out.

        Raises psycopg's error for the first statement that failed (the others were not run) or for the connection;
        UnicodeEncodeError for a text without a UTF-8 form, and then nothing is sent.
        """
        pgconn, asked = self._pgconn, []
        # All of them before anything is sent: a lone surrogate has no UTF-8 form.
        encoded = [(name, *_forms(parameters)) for name, parameters in statements]
        words: list[tuple[str, list[bytes], list[int]]] = [("BEGIN", [], []), *encoded] if begin else encoded
        if end is not None:
            words.append((end, [], []))
        for name, parameters, formats in words:
            if name not in self._prepared and (prepare := f"prepare {name}") not in asked:
                pgconn.send_prepare(name.encode(), sql_of(name))
                asked.append(prepare)
            pgconn.send_query_prepared(name.encode(), parameters, formats)
            asked.append(name)
        pgconn.pipeline_sync()
        try:
            results = await self._exchange()
        except psycopg.Error:
            results = self._results[: len(asked)]
            if not (len(results) == len(asked) and results[-1].command_status == b"COMMIT"):
                raise
            # It is committed, whatever became of the connection since: whoever uses it next is told that it broke.
        rows = self._rows(asked, results, reads=reads)
        return rows[begin : len(rows) - (end is not None)]

    async def _exchange(self) -> list[pq.abc.PGresult]:
        """Sends what is buffered, and receives the results up to the synchronisation point."""
        self._results = []
        self._done = self._loop.create_future()
        self._asked_at = self._loop.time()
        if not self._watched:
            self._loop.add_reader(self._socket, self._receive)
            self._watched = True
        if self._pgconn.flush():
            self._loop.add_writer(self._socket, self._send)
        elif self._pgconn.status != pq.ConnStatus.OK:
            self._receive()
        return await self._done

    def _unwatch(self) -> None:
        if self._watched:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._watched = False

    def _receive(self) -> None:
        broken: psycopg.Error | None = None
        synced = False
        try:
            self._pgconn.consume_input()
        except psycopg.Error as error:
            broken = error  # the server's last words may still have come
        try:
            synced = self._collect()
        except psycopg.Error as error:
            broken = broken or error
        if not synced and broken is None and self._pgconn.status != pq.ConnStatus.OK:
            broken = psycopg.OperationalError(self._pgconn.get_error_message(self._encoding))
        if broken is not None:
            # At once, and not when the future is awaited: libpq closes a broken socket, whose number the next one gets.
            self._unwatch()
        if self._done.done():
            return
        if synced:
            self._done.set_result(self._results)
        elif broken is not None:
            self._done.set_exception(self._last_words() or broken)

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_S, self._look)
        if self._watched:
            self._receive()
        if not self._done.done() and self._loop.time() - self._asked_at > self._silent_after_s:
            cut(self._connection)
            self._receive()

    def _send(self) -> None:
        try:
            if not self._pgconn.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.Error:
            self._receive()  # it says why

    def _collect(self) -> bool:
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
            self._results.append(result)
        return False

    def _last_words(self) -> Exception | None:
        for result in self._results:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                return errors.error_from_result(result, self._encoding)
        return None

    def _rows(self, asked: Sequence[str], results: Sequence[pq.abc.PGresult], *, reads: bool) -> list[list[Any]]:
        rows: list[list[Any]] = []
        failed: Exception | None = None
        for name, result in zip(asked, results, strict=True):
            if result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
                if name.startswith("prepare "):
                    self._prepared.add(name[8:])
                else:
                    rows.append(self._decoded(result) if reads else [])
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


def _forms(parameters: Sequence[str | bytes]) -> tuple[list[bytes], list[int]]:
    """Parameters as bytes, and of each whether it is in binary form."""
    return (
        [parameter if isinstance(parameter, bytes) else parameter.encode() for parameter in parameters],
        [isinstance(parameter, bytes) for parameter in parameters],
    )


@cache
def sql_of(name: str) -> bytes:
    """The SQL of a statement, its parameters numbered ($1, $2, …) as libpq wants them. BEGIN and its like stay."""
    if name.isupper():
        return name.encode()
    number = 0

    def numbered(found: re.Match[str]) -> str:
        nonlocal number
        if found[0] == "%%":
            return "%"
        number += 1
        return f"${number}"

    return _PLACEHOLDER.sub(numbered, query(name)).encode()
