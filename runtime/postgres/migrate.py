"""Numbered SQL migrations, applied once each, in order, by whoever comes first.

Many pods may start at once: an advisory lock makes the others wait. A migration that was applied must not change:
its checksum is compared, and a difference is an error that names the file.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import LiteralString, NamedTuple

import psycopg

from runtime.errors import Misconfigured, NotConnected
from runtime.postgres.connection import Connection, close, connect

_LOCK = 7_215_846_001_337_001
"""Advisory lock held while migrating; any number that nothing else in the database uses."""


class Migration(NamedTuple):
    """One file of migrations/: `0001_log.sql` is number 1, named log."""

    number: int
    name: str
    sql: LiteralString
    checksum: str


def migrations() -> list[Migration]:
    """All migrations of this version, in order."""
    found = []
    for file in files(__package__).joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            sql = file.read_text()
            found.append(Migration(int(number), name, sql, hashlib.sha256(sql.encode()).hexdigest()))
    return sorted(found)


async def migrate(url: str) -> list[str]:
    """Applies what is missing; gives the names applied now. Raises NotConnected or Misconfigured."""
    connection = await connect(url, role=None)
    try:
        await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        await connection.execute("CREATE SCHEMA IF NOT EXISTS troupe")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (number int PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        return [await _apply(connection, migration) for migration in await _missing(connection)]
    except psycopg.errors.InsufficientPrivilege as error:
        raise Misconfigured(
            f"the database user may not migrate: {error}. Run `runtime db migrate` once as a user that may create "
            "schemas and roles"
        ) from error
    except psycopg.OperationalError as error:
        raise NotConnected(f"Postgres went away during a migration: {error}") from error
    finally:
        await close(connection)


async def _missing(connection: Connection) -> list[Migration]:
    rows = await (await connection.execute("SELECT number, name, checksum FROM migrations")).fetchall()
    applied = {row[0]: (row[1], row[2]) for row in rows}
    missing = []
    for migration in migrations():
        if migration.number not in applied:
            missing.append(migration)
        elif applied[migration.number][1] != migration.checksum:
            raise Misconfigured(
                f"migration {migration.number:04d}_{migration.name} was changed after it was applied to this database: "
                "restore the file, and put the change into a new migration"
            )
    newest = max((migration.number for migration in migrations()), default=0)
    if ahead := [number for number in applied if number > newest]:
        raise Misconfigured(f"the database is at migration {max(ahead)}, newer than this code, which knows {newest}")
    return missing


async def _apply(connection: Connection, migration: Migration) -> str:
    async with connection.transaction():
        await connection.execute(migration.sql, prepare=False)
        await connection.execute(
            "INSERT INTO migrations (number, name, checksum) VALUES (%s, %s, %s)",
            (migration.number, migration.name, migration.checksum),
        )
    return f"{migration.number:04d}_{migration.name}"
