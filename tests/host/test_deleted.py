"""A deleted actor: what the archive holds of it is nobody's, and its new life is folded and archived as any."""

from __future__ import annotations

from pathlib import Path

from runtime.policy import Retention
from runtime.postgres.segments import PostgresSegments
from tests.host.test_archive import KEYS, LATER, LONG_AGO, count_up
from tests.support.archiving import Archive, archive
from tests.support.kinds import counter
from tests.support.system import System, run

GONE = "k3"


async def told(there: Archive) -> tuple[int, list[str]]:
    """How many events of the others the log gives, in both ways of reading, and the types of the deleted one's."""
    whole = await there.log(limit=7)
    by_time = await there.reader.by_time(LONG_AGO, LATER, limit=10_000)
    assert {(one.lane, one.position) for one in whole} == {(one.lane, one.position) for one in by_time}
    return sum(event.key != GONE for event in whole), [event.type for event in whole if event.key == GONE]


def test_given_a_deleted_actor_with_archived_events_then_nobody_is_given_them_and_its_new_life_goes_on(
    system: System, tmp_path: Path
) -> None:
    others = 30 * (len(KEYS) - 1)

    async def scenario() -> None:
        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            await count_up(client, 30)
            await there.away(counter)
            before = len(there.files)
            deleted = await client.delete(counter, GONE, by="ann", timeout_s=60)
            assert (deleted.seq, deleted.events, deleted.ended) == (31, 5, 0)
            assert [(one.first_seq, one.last_seq) for one in deleted.archived] == [(1, 25)]
            assert await told(there) == (others, ["troupe.deleted"])
            await count_up(client, 10, [GONE])
            system.sql("DELETE FROM snapshots")
            done = await there.away(counter, Retention(keep_events=2, keep_for_s=0.0))
            assert done.refused == 0
            assert len(there.files) > before
            system.sql("DELETE FROM snapshots")

        async with system.pod(counter), system.client() as client, archive(system, tmp_path) as there:
            assert await client.query(counter, GONE, "value") == 10, "folded from segments and rows of this life"
            segments = PostgresSegments(system.postgres_url)
            for segment in reversed(await segments.find()):
                await segments.restore(segment)
            await segments.close()
            count, types = await told(there)
            assert (count, types.count("troupe.deleted"), len(types)) == (others, 1, 11)
            again = await client.delete(counter, GONE, timeout_s=60)
            assert (again.seq, again.events) == (42, 11)
            assert await client.query(counter, GONE, "value") == 0

    run(scenario())
