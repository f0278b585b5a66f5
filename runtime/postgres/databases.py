"""Databases of tests: made as copies of one that was migrated once, and dropped."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from runtime.errors import NotConnected
from runtime.postgres.connection import close, connect, redacted
from runtime.postgres.migrate import migrate


def database_url(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def copy_migrated(url: str, name: str, template: str) -> str:
    """Makes the database `name`, empty and migrated, and gives its URL; one of that name goes before.

    Args:
        url: the server, as a user who may create databases.
        template: the database that is copied; made, and migrated, if it is not there.

    Raises NotConnected, Misconfigured as `migrate` does.
    """
    await _run(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    found = await _run(url, sql.SQL("SELECT 1 FROM pg_database WHERE datname = {}").format(sql.Literal(template)))
    if not found:
        await _run(url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(template)))
    await migrate(database_url(url, template))
    await _run(
        url, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    )
    own = database_url(url, name)
    # Each log has an id of its own, by which pods tell theirs.
    await _run(own, sql.SQL("UPDATE settings SET value = gen_random_uuid()::text WHERE name = 'log_id'"))
    return own


async def drop(url: str, name: str) -> None:
    """Drops a database, whoever is connected to it. Raises NotConnected."""
    await _run(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


async def _run(url: str, statement: sql.Composed | sql.SQL) -> list[object]:
    connection = await connect(url, role=None)
    try:
        cursor = await connection.execute(statement)
        return list(await cursor.fetchall()) if cursor.description else []
    except psycopg.Error as error:
        raise NotConnected(f"Postgres at {redacted(url)} did not do it: {error}") from error
    finally:
        await close(connection)
