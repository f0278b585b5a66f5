"""Making a used database as good as a new one, which costs a tenth of creating and migrating another."""

from __future__ import annotations

import psycopg

from runtime.postgres.migrate import migrate

SHAPE = """
SELECT md5(string_agg(part, '|' ORDER BY part)) FROM (
    SELECT concat_ws(',', c.relname, c.relkind, c.relpersistence, c.reloptions, c.relacl, c.relowner, c.relispartition,
                     c.relrowsecurity, c.relforcerowsecurity, pg_get_expr(c.relpartbound, c.oid)) AS part
    FROM pg_class c WHERE relnamespace = 'troupe'::regnamespace
    UNION ALL
    SELECT concat_ws(',', attrelid::regclass, attname, atttypid, attnotnull, attidentity, attisdropped)
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'troupe'::regnamespace AND attnum > 0
    UNION ALL
    SELECT concat_ws(',', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'troupe'::regnamespace
    UNION ALL
    SELECT concat_ws(',', tablename, policyname, roles, cmd, qual, with_check) FROM pg_policies
    UNION ALL
    SELECT concat_ws(',', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger
    UNION ALL
    SELECT concat_ws(',', oid::regprocedure, prosrc) FROM pg_proc WHERE oid >= 16384
    UNION ALL
    SELECT concat_ws(',', nspname, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'
    UNION ALL
    SELECT concat_ws(',', relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT concat_ws(',', number, name, checksum) FROM troupe.migrations
) parts
"""
"""What tests may have altered: tables, columns, constraints, policies, triggers, functions, rights, migrations."""

KEPT = ("migrations", "settings")


async def migrated(url: str) -> str:
    """Migrates a new database; gives its shape."""
    await migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        return str(_shape(connection))


def empty(url: str, shape: str) -> bool:
    """Empties a database that is at `shape`, and ends all its other sessions; False when it is at another, or away."""
    try:
        connection = psycopg.connect(url, autocommit=True, options="-c search_path=troupe")
    except psycopg.OperationalError:
        return False
    with connection:
        if connection.execute("SELECT to_regclass('migrations')").fetchone() == (None,):
            return False
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        if _shape(connection) != shape:
            return False
        used = _used(connection)
        if used:
            connection.execute(f"TRUNCATE {', '.join(used)} CASCADE")
        connection.execute(
            "SELECT setval(format('troupe.%I', sequencename), start_value, false) FROM pg_sequences"
            " WHERE schemaname = 'troupe' AND last_value IS NOT NULL"
        )
        connection.execute("DELETE FROM settings WHERE name <> 'log_id'")
        connection.execute("UPDATE settings SET value = gen_random_uuid()::text")
    return True


def _shape(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    row = connection.execute(SHAPE).fetchone()
    assert row is not None
    return row[0]


def _used(connection: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'troupe'::regnamespace AND relkind = 'r'"
        " AND pg_relation_size(oid) > 0 AND relname <> ALL(%s)",
        [list(KEPT)],
    )
    return [str(name) for (name,) in rows]
