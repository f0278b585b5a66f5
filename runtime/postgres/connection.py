"""Connections to Postgres, each with the settings its work needs.

Every session acts as the role troupe_pod in the schema troupe (see migrations/0002_tenants.sql).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus
from psycopg.rows import TupleRow

from runtime.errors import NotConnected

CONNECT_TIMEOUT_S = 5
Connection = AsyncConnection[TupleRow]

# How soon the kernel tells that the other side is gone without a word, unless the URL says otherwise.
_KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

_SESSION = {"search_path": "troupe", "jit": "off", "TimeZone": "UTC", "client_encoding": "UTF8"}

COMMIT_SETTINGS = {
    # One plan per statement for ever: as tables grow, the planner's other ideas cost ten times as much a batch.
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
}


# What tells this database, in this life of its server, from any other. Another value means that what was read before
# may never have been: an older copy may stand in its place.
INCARNATION: LiteralString = (
    "SELECT concat(pg_postmaster_start_time(), ' ', oid) FROM pg_database WHERE datname = current_database()"
)


class _HexLoader(Loader):
    """uuid columns as 32 hex digits, the form in which the host knows actors."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode().replace("-", "")


async def connect(
    url: str, *, role: str | None = "troupe_pod", settings: Mapping[str, str] | None = None
) -> Connection:
    """A connection in autocommit mode. Raises NotConnected with the server's words and without the password."""
    wanted = dict(_SESSION)
    if role is not None:
        wanted["role"] = role
    wanted.update(settings or {})
    options = " ".join([f"-c {name}={value}" for name, value in wanted.items()])
    try:
        given = conninfo_to_dict(url)
        keepalive = {name: value for name, value in _KEEPALIVE.items() if name not in given}
        connection = await AsyncConnection.connect(
            make_conninfo(url, **keepalive),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=options,
            prepare_threshold=0,
            application_name="troupe",
        )
    except (psycopg.Error, OSError) as error:
        raise NotConnected(f"Postgres at {redacted(url)} cannot be reached: {error}") from error
    connection.adapters.register_loader("uuid", _HexLoader)
    return connection


async def incarnation(connection: Connection) -> str:
    """INCARNATION of what a connection leads to."""
    cursor = await connection.execute(INCARNATION)
    row = await cursor.fetchone()
    assert row is not None  # the database one is connected to is always in the list
    return str(row[0])


def cut(connection: Connection) -> None:
    """Ends a connection whose other side has fallen silent: whoever waits for it gets an error at once."""
    if connection.pgconn.status != ConnStatus.BAD:
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as line, suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


async def close(connection: Connection | None) -> None:
    """Closes a connection that may be broken."""
    if connection is not None:
        try:
            await connection.close()
        except (psycopg.Error, OSError):
            pass  # it was broken: closing it is all that was left to do


def redacted(url: str) -> str:
    """The URL without its password, for errors and logs."""
    return re.sub(r"password=\S+", "password=…", re.sub(r"//([^:/@]*):[^@]*@", r"//\1:…@", url))
