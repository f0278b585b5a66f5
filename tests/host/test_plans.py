"""Every look-up of the commit path uses its index: on empty tables as on large ones, since a plan is made once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.postgres.connection import COMMIT_SETTINGS, connect
from runtime.postgres.keeping import SETTINGS
from runtime.postgres.migrate import migrate
from runtime.postgres.queries import query
from tests.support.system import System, run

ANSWERS = 200_000
FEW = 30
TRIMMED = {"age_s": 86400.0, "oldest_message": None, "oldest_unsent": None, "limit": 5000}
INDEXES = {
    "fence": {"partitions_pkey"},
    "find_inbox": {"inbox_pkey"},
    "find_pending_ids": {"pending_actor_command_id_key"},
    "next_pending": {"pending_pkey"},
    "find_timers": {"timers_pkey"},
    "find_refused": {"refused_pkey"},
    "find_parked": {"dead_letters_pkey"},
    "find_snapshots": {"snapshots_pkey"},
    "find_tails": {"snapshots_pkey", *[f"events_{n}_pkey" for n in range(8)]},
    "delete_inbox": {"inbox_pkey"},
    "delete_pending": {"pending_actor_command_id_key"},
    "update_pending": {"pending_actor_command_id_key"},
    "end_runs": {"pending_actor_command_id_key"},
    "settle_runs": {"runs_pkey"},
    "delete_outbox": {"outbox_pkey"},
    "delete_timers": {"timers_pkey"},
    "resume": {"paused_pkey"},
    "resolve_dead_letters": {"dead_letters_pkey"},
    "probe": {"partitions_pkey"},
}
"""The indexes of each statement that looks something up between BEGIN and COMMIT, or before it."""

FILL = [
    "INSERT INTO groups (name) VALUES ('default')",
    "INSERT INTO partitions (lane, group_name, partition) SELECT n, 'default', n FROM generate_series(0, 31) n",
    f"""INSERT INTO inbox (actor, command_id, seq, lane, digest, failed, result)
        SELECT md5((n % 5000)::text)::uuid, 'c' || n, n, n % 32, 0, false, 'null'
        FROM generate_series(1, {ANSWERS}) n""",
    """INSERT INTO events (actor, seq, lane, position, partition, version, epoch, tenant, type, command_id, payload)
       SELECT md5((n % 500)::text)::uuid, n, n % 32, n, n % 32, 1, 1, 'default', 'Added', 'c' || n, '{}'
       FROM generate_series(1, 50000) n""",
    """INSERT INTO pending (lane, actor, command_id, tenant, kind, key, method, digest, state, holds, headers, body)
       SELECT n % 32, md5((n % 5000)::text)::uuid, 'p' || n, 'default', 'k', 'k', 'm', 0, 'waiting', true, '{}', ''
       FROM generate_series(1, 20000) n""",
    """INSERT INTO runs (actor, command_id, tenant, kind, key, method, digest, status, attempts, tags, seq, since)
       SELECT md5((n % 5000)::text)::uuid, 'e' || n, 'default', 'k', 'k', 'm', 0, 'completed', 1, '{}', n, now()
       FROM generate_series(1, 20000) n""",
    """INSERT INTO timers (actor, name, lane, due_at, fire_id, tenant, kind, key, method, headers, body)
       SELECT md5((n % 5000)::text)::uuid, 't' || n, n % 32, now(), 'f' || n, 'default', 'k', 'k', 'm', '{}', ''
       FROM generate_series(1, 20000) n""",
    """INSERT INTO refused (actor, command_id, fingerprint, digest, partition, seq, code, failure)
       SELECT md5((n % 5000)::text)::uuid, 'r' || n, 0, 0, n % 32, n, 'c', '{}' FROM generate_series(1, 20000) n""",
    """INSERT INTO snapshots (actor, tenant, seq, fold_version, state)
       SELECT md5(n::text)::uuid, 'default', n, 'v', '{}' FROM generate_series(1, 20000) n""",
    """INSERT INTO outbox (lane, ord, message_id, subject, headers, body)
       SELECT n % 32, n, 'm' || n, 's', '{}', '' FROM generate_series(1, 20000) n""",
    """INSERT INTO paused (actor, tenant, lane, reason)
       SELECT md5(n::text)::uuid, 'default', n % 32, 'r' FROM generate_series(1, 20000) n""",
    """INSERT INTO dead_letters (actor, tenant, kind, key, method, command_id, headers, body, code, error, attempts)
       SELECT md5(n::text)::uuid, 'default', 'k', 'k', 'm', 'd' || n, '{}', '', 'c', 'e', 1
       FROM generate_series(1, 20000) n""",
]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def numbered(statement: str) -> str:
    """The statement with the placeholders that the server knows."""
    numbers = iter(range(1, 100))
    return re.sub("%s", lambda _: f"${next(numbers)}", statement)


async def plans(system: System) -> dict[str, dict[str, Any]]:
    """The generic plan of every statement, on a connection as the commit path has it."""
    connection = await connect(system.postgres_url, settings=COMMIT_SETTINGS)
    found = {}
    try:
        for name in INDEXES:
            statement = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered(query(name))}"
            cursor = await connection.execute(statement.encode(), prepare=False)
            ((explained,),) = await cursor.fetchall()
            found[name] = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
    finally:
        await connection.close()
    return found


async def assert_trimmed_by_time(system: System) -> None:
    """What is too old is found by its time, whatever the planner thinks how much that is."""
    connection = await connect(system.postgres_url, settings=SETTINGS)
    try:
        for name, index in (("trim_inbox", "inbox_at"), ("trim_refused", "refused_at")):
            cursor = await connection.execute(f"EXPLAIN (FORMAT JSON) {query(name)}".encode(), TRIMMED, prepare=False)
            ((explained,),) = await cursor.fetchall()
            plan = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
            found_by = [node for node in nodes(plan) if node.get("Alias") == index[0]]
            assert [node.get("Index Name") for node in found_by] == [index], json.dumps(plan, indent=1)
            assert "Index Cond" in found_by[0], json.dumps(plan, indent=1)
    finally:
        await connection.close()


def assert_indexed(found: dict[str, dict[str, Any]]) -> None:
    """Every table is reached by the index that is meant, with a condition on it."""
    for name, plan in found.items():
        # A bitmap of the index leads to rows of its table, so the index is what counts.
        above = ("ModifyTable", "Bitmap Heap Scan")
        found_by = [node for node in nodes(plan) if "Index Name" in node or "Relation Name" in node]
        tables = [node for node in found_by if node["Node Type"] not in above]
        assert {node.get("Index Name") for node in tables} == INDEXES[name], f"{name}: {json.dumps(plan, indent=1)}"
        large = [node for node in tables if node.get("Index Name") != "partitions_pkey"]  # a row a lane: never many
        assert all("Index Cond" in node for node in large), f"{name} reads a whole index: {json.dumps(plan, indent=1)}"


def test_given_tables_of_a_few_rows_whose_number_is_known_when_planned_then_each_look_up_uses_its_index(
    new_system: System,
) -> None:
    """To the planner reading all of so little is cheaper, now and, since it plans but once, when there is much."""

    async def scenario() -> None:
        await migrate(new_system.postgres_url)
        for statement in FILL:
            new_system.sql(re.sub(r"generate_series\(1, \d+\)", f"generate_series(1, {FEW})", statement))
        new_system.sql("ANALYZE")
        assert_indexed(await plans(new_system))

    run(scenario())


@pytest.mark.slow
def test_given_tables_empty_or_full_when_the_commit_path_is_planned_then_each_look_up_uses_its_index(
    new_system: System,
) -> None:
    async def scenario() -> None:
        await migrate(new_system.postgres_url)
        assert_indexed(await plans(new_system))
        await assert_trimmed_by_time(new_system)
        for statement in FILL:
            new_system.sql(statement)
        assert_indexed(await plans(new_system))
        await assert_trimmed_by_time(new_system)
        new_system.sql("ANALYZE")
        assert_indexed(await plans(new_system))
        await assert_trimmed_by_time(new_system)
        assert new_system.sql("SELECT reltuples::int FROM pg_class WHERE relname = 'inbox'") == [(ANSWERS,)]

    run(scenario())
