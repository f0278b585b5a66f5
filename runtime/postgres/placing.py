"""What a database remembers of its place among the servers of a log: which of how many it is, and of which log."""

from __future__ import annotations

import logging

import psycopg
from psycopg import sql

from runtime.errors import Misconfigured, NotConnected
from runtime.host.places import Place
from runtime.postgres.connection import Connection, close, connect, redacted
from runtime.postgres.queries import query

_log = logging.getLogger("troupe.pod")


async def claim(place: Place) -> bytes:
    """Makes a new database the server of this place, and checks that an older one is; gives its pods' secret.

    All servers of a log have the first one's log id. Raises Misconfigured when the database is another server than
    that, or one of another log; NotConnected, also when a new one cannot ask the first server which log it is of.
    """
    first, key = await _first(place) if place.server else (None, None)
    connection = await connect(place.url, role=None)
    try:
        async with connection.transaction():
            # Of several that write it at once, the others wait for the first one's end.
            if (await connection.execute(query("set_setting"), ("server", place.name))).rowcount:
                await _complete(connection, place, first)
            elif (stored := await _setting(connection, "server")) != place.name:
                raise Misconfigured(
                    f"Postgres at {redacted(place.url)} was made as server {stored}, and RUNTIME_POSTGRES_URL makes it "
                    f"{place.name}: a partition's log stays where it is, so name the servers that were, in their order"
                )
            elif first is not None and (log_id := await _setting(connection, "log_id")) != first:
                raise Misconfigured(
                    f"Postgres at {redacted(place.url)} holds log {log_id}, and the first server of "
                    f"RUNTIME_POSTGRES_URL log {first}: name the servers of one log"
                )
            own = await _setting(connection, "pods_key")
            if key is not None and own != key:
                await connection.execute("UPDATE settings SET value = %s WHERE name = 'pods_key'", (key,))
            return (key or own or "").encode()
    except psycopg.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            f"the database user may not make Postgres at {redacted(place.url)} server {place.name}: {error}. Run "
            "`runtime db migrate` once, with all servers in RUNTIME_POSTGRES_URL, as a user that owns the tables"
        ) from error
    except psycopg.OperationalError as error:
        raise NotConnected(f"Postgres at {redacted(place.url)} went away: {error}") from error
    finally:
        await close(connection)


async def _complete(connection: Connection, place: Place, first: str | None) -> None:
    """Makes a database that nothing is in yet what it was just claimed to be."""
    if len(place.servers) == 1:
        return
    # Dead letters are named by their ids: no two servers give out the same.
    identity = "ALTER TABLE dead_letters ALTER COLUMN id SET INCREMENT BY {} SET START WITH {} RESTART"
    await connection.execute(sql.SQL(identity).format(len(place.servers), place.server + 1))
    if place.server:
        if first is None:
            raise NotConnected(
                f"Postgres at {redacted(place.url)} is new, and which log it is to be of says the first server of "
                "RUNTIME_POSTGRES_URL, which is away, or new as well"
            )
        await connection.execute("UPDATE settings SET value = %s WHERE name = 'log_id'", (first,))


async def _first(place: Place) -> tuple[str | None, str | None]:
    """(log id, secret of the pods) of the first server; None for what it does not say now."""
    try:
        connection = await connect(place.servers[0], role=None)
    except NotConnected as error:
        _log.warning("server %s cannot be compared with the first one: %s", place.name, error)
        return None, None
    try:
        if not await _setting(connection, "server"):
            return None, None
        return await _setting(connection, "log_id"), await _setting(connection, "pods_key")
    except psycopg.Error as error:  # it is not migrated yet, or has gone away
        _log.warning("server %s cannot be compared with the first one: %s", place.name, error)
        return None, None
    finally:
        await close(connection)


async def _setting(connection: Connection, name: str) -> str | None:
    row = await (await connection.execute(query("setting"), (name,))).fetchone()
    return None if row is None else str(row[0])
