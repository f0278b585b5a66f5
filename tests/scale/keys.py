"""The axis of rows: the same commands before a log that holds ten thousand to ten million events and answers.

A few rows are written by a pod; all others are copies of these with another address, position and number, in the order
and number in which a pod would have written them. That they are as good is shown by a sample of actors, which a pod
then loads: their state must be the sum of their events, and an old command's repeat must get its recorded answer.
"""

from __future__ import annotations

import random
import statistics
import time

import psycopg
import uvloop

from runtime.client import Client
from schemas.address import actor_id, partition_of
from tests.bench.load import BODY
from tests.bench.stage import Miscounted, Scene, Stage
from tests.scale.cost import cost, idle
from tests.support.servers import Servers
from tests.support.system import System, create

DATABASE = "scale_keys"
PARTITIONS = 32
EVENTS = 10
"""Events, and so answers, of one actor."""

CHUNK = 100_000
"""So many actors are written by one transaction."""

STATISTICS_S = 1.5
"""Sessions tell their counts at most once a second."""

WHOLE_READS = """
SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_user_tables
WHERE schemaname = 'troupe' AND (relname ~ '^events_[0-9]+$' OR relname IN ('inbox', 'actors', 'snapshots'))
"""

SAMPLE = 300
WARM = 1000
FILL = """
CREATE TEMP TABLE filling (actor uuid, key text, partition int, rank bigint) ON COMMIT DROP
"""
ACTORS = """
INSERT INTO actors (actor, tenant, kind, key, lane, partition)
SELECT f.actor, t.tenant, t.kind, f.key, f.partition, f.partition
FROM filling f, (SELECT * FROM actors WHERE key = 'template') t
"""
EVENTS_OF = """
INSERT INTO events (actor, seq, lane, position, partition, version, epoch, tenant, type, command_id, session,
                    causation_id, correlation_id, principal, payload, code_version)
SELECT f.actor, n, f.partition, f.rank + n, f.partition, t.version, t.epoch, t.tenant, t.type, f.key || '-' || n,
       t.session, t.causation_id, t.correlation_id, t.principal, t.payload, t.code_version
FROM filling f CROSS JOIN generate_series(1, %s) n,
     (SELECT e.* FROM events e JOIN actors a USING (actor) WHERE a.key = 'template' AND e.seq = 1) t
"""
ANSWERS = """
INSERT INTO inbox (actor, command_id, seq, lane, digest, failed, result)
SELECT f.actor, f.key || '-' || n, n, f.partition, t.digest, t.failed, n::text
FROM filling f CROSS JOIN generate_series(1, %s) n,
     (SELECT i.* FROM inbox i JOIN actors a USING (actor) WHERE a.key = 'template' AND i.seq = 1) t
ORDER BY 2
"""


def rows(stage: Stage, size: int, seconds: float) -> dict[str, float]:
    """Fills the log up to `size` events, measures, and leaves it there for the next size."""
    scene = _scene(stage)
    try:
        _prepare(scene)
        begun = time.monotonic()
        actors = fill(scene, size)
        fill_s = time.monotonic() - begun
        scene.start_pod()
        scene.await_owners()
        figures = {"fill_s": fill_s}
        seed, before = scene.counted().answers, _whole_reads(scene)
        figures["cold_p50_ms"] = uvloop.run(_check(scene, actors, seed))
        figures["whole_reads"] = _whole_reads(scene) - before
        chosen = random.Random(2).sample(range(actors), min(WARM, actors))
        figures |= cost(scene, [_key(number) for number in chosen], seconds)
        time.sleep(1)
        figures |= idle(scene, 3 * seconds)
        bytes_used = scene.system.sql("SELECT pg_database_size(current_database())")[0][0]
        return figures | {"bytes_an_event": bytes_used / scene.counted().answers, "database_mib": bytes_used / 2**20}
    finally:
        scene.close()


def fill(scene: Scene, size: int) -> int:
    """Writes what is missing of `size` events; gives how many actors there are. A fill that was cut short goes on."""
    present = scene.system.sql("SELECT count(*) FROM actors WHERE key LIKE 'f%%'")[0][0]
    wanted = max(int(present), size // EVENTS)
    positions: dict[int, int] = {
        lane: scene.system.sql("SELECT coalesce(max(position), 0) FROM events WHERE lane = %s", lane)[0][0]
        for lane in range(PARTITIONS)
    }
    with psycopg.connect(scene.system.postgres_url, autocommit=True, options="-c search_path=troupe") as connection:
        connection.execute("SET work_mem = '256MB'")
        for first in range(present, wanted, CHUNK):
            # In the order of the indexes, which then grow at fewer places.
            made = sorted(_actor(number) for number in range(first, min(first + CHUNK, wanted)))
            with connection.transaction():
                _write(connection, made, positions)
        if present < wanted:
            connection.execute("VACUUM ANALYZE")  # else autovacuum does it while something is measured
    return wanted


def _write(connection: psycopg.Connection, made: list[tuple[str, str, int]], positions: dict[int, int]) -> None:
    """Writes actors with their events and answers, and moves the lanes' positions."""
    connection.execute(FILL)
    with connection.cursor().copy("COPY filling FROM STDIN") as copy:
        for actor, key, partition in made:
            copy.write_row((actor, key, partition, positions[partition]))
            positions[partition] += EVENTS
    connection.execute(ACTORS)
    connection.execute(EVENTS_OF, (EVENTS,))
    connection.execute(ANSWERS, (EVENTS,))


def _scene(stage: Stage) -> Scene:
    endpoints = stage.infra.endpoints
    servers = Servers(endpoints.nats_url, endpoints.postgres_url, "embedded")
    with psycopg.connect(servers.postgres_url, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchall()
    system = System(servers, DATABASE) if found else create(servers, DATABASE, new=True)
    system.partitions = PARTITIONS
    return Scene(system, stage.infra, stage.next_log_dir(), {})


def _prepare(scene: Scene) -> None:
    """Lets a pod write the template, unless it is there."""
    if scene.system.sql("SELECT to_regclass('troupe.actors') IS NULL")[0][0]:
        scene.start_pod()
        scene.await_owners()
        uvloop.run(_write_template(scene))
        scene.end_pods()


async def _write_template(scene: Scene) -> None:
    async with await Client.connect(scene.system.nats_url) as client:
        await client.call("counter", "template", "add", BODY)


def _whole_reads(scene: Scene) -> int:
    """How often a whole table of the log was read so far."""
    time.sleep(STATISTICS_S)
    return int(scene.system.sql(WHOLE_READS)[0][0])


async def _check(scene: Scene, actors: int, seed: int) -> float:
    """Calls a sample, one at a time: gives the median in ms. Raises Miscounted when a state or an answer is wrong."""
    waits = []
    async with await Client.connect(scene.system.nats_url) as client:
        for number in random.Random(seed).sample(range(actors), min(SAMPLE, actors)):
            key = _key(number)
            repeated = await client.call("counter", key, "add", BODY, id=f"{key}-{EVENTS}")
            if (repeated.repeated, bytes(repeated.result)) != (True, b"%d" % EVENTS):
                raise Miscounted(f"the repeat of {key}-{EVENTS} was answered {repeated}")
        for number in random.Random(seed + 1).sample(range(actors), min(SAMPLE, actors)):
            actor, _, partition = _actor(number)
            statement = "SELECT sum((payload->>'amount')::int) FROM events WHERE actor = %s AND partition = %s"
            known = scene.system.sql(statement, actor, partition)[0][0]
            begun = time.perf_counter()
            reply = await client.call("counter", _key(number), "add", BODY)
            waits.append(time.perf_counter() - begun)
            if reply.error is not None or int(reply.result) != known + 1:
                raise Miscounted(f"{_key(number)} has events of {known} in all and answered {reply}")
    return statistics.median(waits) * 1000


def _key(number: int) -> str:
    return f"f{number}"


def _actor(number: int) -> tuple[str, str, int]:
    """(id, key, partition) of an actor that is filled in."""
    key = _key(number)
    return actor_id("default", "counter", key), key, partition_of("default", "counter", key, PARTITIONS)
