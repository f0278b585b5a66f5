"""Prepared statements straight on libpq, against a real Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import uvloop
from psycopg import pq

from runtime.postgres.connection import Connection, connect
from runtime.postgres.migrate import migrate
from runtime.postgres.pipeline import Pipeline, sql_of
from tests.support.system import System, run

LONG = 20_000_000
"""Bytes; far more than the buffers of a socket hold."""


@asynccontextmanager
async def opened(system: System) -> AsyncIterator[tuple[Connection, Pipeline]]:
    """A pipeline on a migrated database."""
    await migrate(system.postgres_url)
    connection = await connect(system.postgres_url)
    pipeline = Pipeline(connection)
    try:
        yield connection, pipeline
    finally:
        pipeline.close()
        await connection.close()


def test_given_statements_when_run_then_their_rows_come_back_in_order_and_typed(system: System) -> None:
    async def scenario() -> None:
        async with opened(system) as (_, pipeline):
            assert await pipeline.run([("set_setting", ("a", "1")), ("setting", ("a",))]) == [[], [("1",)]]
            assert await pipeline.run([("setting", ("none",)), ("setting", ("a",))]) == [[], [("1",)]]
            assert await pipeline.run([("lane_positions", ("{1,2}", "{1,1}"))]) == [[(1, 0), (2, 0)]]

    run(scenario())


def test_given_begin_and_commit_when_run_then_they_are_one_transaction(system: System) -> None:
    async def scenario() -> None:
        async with opened(system) as (connection, pipeline):
            assert await pipeline.run([("set_setting", ("a", "1"))], begin=True) == [[]]
            assert connection.info.transaction_status == pq.TransactionStatus.INTRANS
            assert system.sql("SELECT count(*) FROM settings WHERE name = 'a'") == [(0,)]
            assert await pipeline.run([("set_setting", ("b", "2"))], end="COMMIT") == [[]]
            assert connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
            assert system.sql("SELECT name FROM settings WHERE name IN ('a', 'b') ORDER BY 1") == [("a",), ("b",)]

    run(scenario())


def test_given_a_statement_that_fails_when_run_then_its_error_is_raised_and_the_connection_serves_on(
    system: System,
) -> None:
    async def scenario() -> None:
        async with opened(system) as (_, pipeline):
            wrong = ("lane_positions", ("{nonsense", "{1}"))
            with pytest.raises(psycopg.DataError, match="malformed array literal"):
                await pipeline.run([("set_setting", ("a", "1")), wrong, ("set_setting", ("b", "2"))], begin=True)
            await pipeline.run([], end="ROLLBACK")
            assert await pipeline.run([("setting", ("a",)), ("setting", ("b",))]) == [[], []]
            assert await pipeline.run([("lane_positions", ("{1}", "{1}"))]) == [[(1, 0)]]

    run(scenario())


def test_given_a_text_with_nul_when_run_then_it_is_refused_and_not_cut(system: System) -> None:
    async def scenario() -> None:
        async with opened(system) as (_, pipeline):
            with pytest.raises(psycopg.DataError):
                await pipeline.run([("find_inbox", ("{" + "0" * 32 + "}", '{"a\0b"}'))])

    run(scenario())


def test_given_a_text_without_a_utf8_form_when_run_then_nothing_is_sent_and_the_connection_serves_on(
    system: System,
) -> None:
    async def scenario() -> None:
        async with opened(system) as (_, pipeline):
            with pytest.raises(UnicodeEncodeError):
                await pipeline.run([("set_setting", ("a", "1")), ("set_setting", ("b", "\ud800"))], begin=True)
            assert await pipeline.run([("setting", ("a",))]) == [[]]

    run(scenario())


def test_given_a_parameter_larger_than_every_buffer_when_run_then_all_of_it_arrives_and_comes_back(
    system: System,
) -> None:
    async def scenario() -> None:
        async with opened(system) as (_, pipeline):
            text = "x" * LONG
            rows = await pipeline.run([("set_setting", ("long", text)), *[("setting", ("long",))] * 3])
            assert rows == [[], [(text,)], [(text,)], [(text,)]]

    run(scenario())


def test_given_a_session_that_the_server_ends_when_waiting_then_the_reason_is_raised(system: System) -> None:
    async def scenario() -> None:
        async with opened(system) as (connection, pipeline):
            lock = psycopg.connect(system.postgres_url, options="-c search_path=troupe")
            with lock:
                lock.execute("LOCK TABLE settings")
                waiting = asyncio.ensure_future(pipeline.run([("setting", ("a",))]))
                await asyncio.sleep(0.2)
                system.sql("SELECT pg_terminate_backend(%s)", connection.info.backend_pid)
                with pytest.raises(psycopg.errors.AdminShutdown):
                    await waiting
            lock.close()

    run(scenario())


def test_given_a_session_that_ended_unnoticed_when_written_to_then_the_reason_is_raised(system: System) -> None:
    """The pod's event loop is uvloop's, which stops watching a socket in error without a word."""

    async def scenario() -> None:
        async with opened(system) as (connection, pipeline):
            await pipeline.run([("set_setting", ("a", "1"))], begin=True)
            pid = connection.info.backend_pid
            system.sql("SELECT pg_terminate_backend(%s)", pid)
            while system.sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid):
                time.sleep(0.01)  # the loop stands still, as a frozen pod's does
            with pytest.raises(psycopg.errors.AdminShutdown):
                await pipeline.run([("set_setting", ("a", "2"))] * 3, end="COMMIT")

    uvloop.run(scenario())


COMMITTED = b"C\0\0\0\x0bCOMMIT\0"
"""What the server says to COMMIT, in the protocol's own form."""


@asynccontextmanager
async def ended_by_a_commit(system: System) -> AsyncIterator[str]:
    """A URL to the system's Postgres by a line that is cut right behind the server's word that it has committed."""
    parts = urlsplit(system.postgres_url)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        asking = asyncio.ensure_future(passed_on(reader, back))
        said = b""
        while data := await there.read(65_536):
            said += data
            place = said.find(COMMITTED)
            if place >= 0:
                data = data[: len(data) - (len(said) - place - len(COMMITTED))]
            writer.write(data)
            if place >= 0:
                break
        await writer.drain()
        for closing in (writer, back):
            closing.close()
        asking.cancel()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    user = parts.netloc.rpartition("@")[0]
    port = server.sockets[0].getsockname()[1]
    try:
        yield urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"))
    finally:
        server.close()


def test_given_a_connection_that_ends_behind_the_word_that_it_committed_when_waiting_then_it_has(
    system: System,
) -> None:
    async def scenario() -> None:
        await migrate(system.postgres_url)
        async with ended_by_a_commit(system) as url:
            connection = await connect(url)
            pipeline = Pipeline(connection)
            assert await pipeline.run([("set_setting", ("a", "1"))], begin=True) == [[]]
            try:
                assert await pipeline.run([("set_setting", ("b", "2"))], end="COMMIT") == [[]]
            except psycopg.Error as error:
                raise AssertionError("its outcome was known, and called unknown") from error
            finally:
                pipeline.close()
            with pytest.raises(psycopg.Error):
                await Pipeline(connection).run([("setting", ("a",))])
            await connection.close()

    run(scenario())
    assert system.sql("SELECT name FROM settings WHERE name IN ('a', 'b') ORDER BY 1") == [("a",), ("b",)]


def test_given_psycopgs_placeholders_when_translated_then_they_are_numbered() -> None:
    assert b"%" not in sql_of("setting")
    assert b"name = $1" in sql_of("setting")
    assert b"lane = ANY($1) AND group_name = $2 ORDER BY" in sql_of("lock_free")
