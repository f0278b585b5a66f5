"""The ports of the log: the same tests over Postgres, and over the store of the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from runtime.errors import CallFailed
from runtime.host.keeping import Keeping
from runtime.host.ports import (
    ActorRow,
    Changes,
    CommitLog,
    EventRow,
    Fence,
    InboxRow,
    LogRefused,
    LogUnavailable,
    OutboxRow,
    Ownership,
    PendingRow,
    PendingUpdate,
    RefusedRow,
    TimerRow,
    Wanted,
)
from runtime.host.reading import Groups, TimerSource
from runtime.postgres.commit_log import PostgresCommitLog
from runtime.postgres.groups import PostgresGroups
from runtime.postgres.keeping import PostgresKeeping
from runtime.postgres.migrate import migrate
from runtime.postgres.ownership import PostgresOwnership
from runtime.postgres.timers import PostgresTimers
from tests.simulation.groups import SimulatedGroups
from tests.simulation.log import Line, SimulatedCommitLog, SimulatedKeeping, SimulatedOwnership, SimulatedTimers
from tests.simulation.scheduler import Node, Scheduler
from tests.simulation.store import GROUP, REFUSED, Store
from tests.support.system import System, run

TTL_S = 60.0
SHORT_S = 3.0
"""Of a transaction that is to take too long: one that is not has so much time on a busy machine."""
LANES = 2
KINDS = {"k": '{"kind": "k", "group": "g", "type": "entity", "code_version": "v", "methods": []}'}
ACTOR = "0" * 31 + "1"
OTHER = "0" * 31 + "2"
CURSE = f"""
    CREATE FUNCTION troupe.curse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.payload::text LIKE '%{REFUSED}%' THEN RAISE EXCEPTION 'this is cursed'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER curse BEFORE INSERT ON troupe.events FOR EACH ROW EXECUTE FUNCTION troupe.curse();
"""
LIFTED = "DROP FUNCTION troupe.curse() CASCADE"


class Bench:
    """One log, and ports over it for any pod."""

    def ownership(self, pod: str, group: str = "g") -> Ownership:
        """Its membership."""
        raise AssertionError("each log has its own")

    def log(self, pod: str, ttl_s: float = TTL_S) -> CommitLog:
        """Its commits."""
        raise AssertionError("each log has its own")

    def timers(self) -> TimerSource:
        """The timer rows."""
        raise AssertionError("each log has its own")

    def groups(self) -> Groups:
        """The groups of pods."""
        raise AssertionError("each log has its own")

    def keeping(self) -> Keeping:
        """What keeping house asks."""
        raise AssertionError("each log has its own")

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Runs a test to its end."""
        raise AssertionError("each log has its own")


class OnPostgres(Bench):
    """A real database."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._open: list[Any] = []

    def _keep(self, port: Any) -> Any:
        self._open.append(port)
        return port

    def ownership(self, pod: str, group: str = "g") -> Ownership:
        return self._keep(PostgresOwnership(self._system.postgres_url, pod, group, "v", KINDS))  # type: ignore[no-any-return]  # as given

    def log(self, pod: str, ttl_s: float = TTL_S) -> CommitLog:
        return self._keep(PostgresCommitLog(self._system.postgres_url, pod, "v", ttl_s))  # type: ignore[no-any-return]  # as given

    def timers(self) -> TimerSource:
        return self._keep(PostgresTimers(self._system.postgres_url, KINDS))  # type: ignore[no-any-return]  # as given

    def groups(self) -> Groups:
        return self._keep(PostgresGroups(self._system.postgres_url))  # type: ignore[no-any-return]  # as given

    def keeping(self) -> Keeping:
        return self._keep(PostgresKeeping(self._system.postgres_url))  # type: ignore[no-any-return]  # as given

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            await migrate(self._system.postgres_url)
            self._system.sql(CURSE)
            try:
                await scenario()
            finally:
                for port in self._open:
                    await port.close()
                self._system.sql(LIFTED)  # the next test can have this database

        run(whole())


class InMemory(Bench):
    """The simulator's."""

    def __init__(self) -> None:
        self._scheduler = Scheduler(1)
        self._store = Store(self._scheduler, LANES, KINDS)
        self._node = Node(self._scheduler, "bench")

    def ownership(self, pod: str, group: str = "g") -> Ownership:
        return SimulatedOwnership(Line(self._node, self._store), pod, GROUP if group == "g" else group, KINDS)

    def log(self, pod: str, ttl_s: float = TTL_S) -> CommitLog:
        return SimulatedCommitLog(Line(self._node, self._store), pod, ttl_s)

    def timers(self) -> TimerSource:
        return SimulatedTimers(Line(self._node, self._store))

    def groups(self) -> Groups:
        return cast("Groups", SimulatedGroups(Line(self._node, self._store)))

    def keeping(self) -> Keeping:
        return SimulatedKeeping(Line(self._node, self._store))

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            await scenario()

        task = self._node.start(whole())
        assert self._scheduler.run(task.done, 60.0), "it never ended"
        task.result()


@pytest.fixture(params=["postgres", "memory"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return OnPostgres(request.getfixturevalue("system")) if request.param == "postgres" else InMemory()


def event(seq: int, position: int, *, payload: str = "{}", epoch: int = 1) -> EventRow:
    """An event of ACTOR, in lane 0."""
    return EventRow(
        ACTOR, seq, 0, position, 0, 1, epoch, "t", "Done", f"c{seq}", None, None, None, None, payload
    )  # fmt: skip


def pending(id: str, *, holds: bool = True) -> PendingRow:
    """A command of ACTOR that waits in lane 0."""
    return PendingRow(0, ACTOR, id, "t", "k", "a", "m", 7, "waiting", holds, 0, None, "{}", b"", None)


def timer(name: str, fire_id: str, due_at: float) -> TimerRow:
    """A timer of ACTOR in lane 0."""
    return TimerRow(ACTOR, name, 0, due_at, fire_id, "t", "k", "a", "m", "{}", b"")


def fence(epoch: int, *, checkpoint: int = 0, position: int = 0) -> Fence:
    """Lane 0, as somebody believes it to be."""
    return Fence(0, epoch, checkpoint, 0, position)


async def joined(bench: Bench, pod: str) -> Ownership:
    """A pod that lives."""
    ownership = bench.ownership(pod)
    await ownership.register(LANES)
    await ownership.heartbeat(TTL_S)
    return ownership


def test_given_a_lane_when_a_batch_begins_then_only_its_owner_of_that_epoch_has_it(bench: Bench) -> None:
    async def scenario() -> None:
        (taken,) = await (await joined(bench, "one")).take([0])
        assert (taken.epoch, taken.checkpoint, taken.position, taken.unclean) == (1, 0, 0, False)
        for pod, epoch, lanes in (("one", 1, {0}), ("one", 2, set()), ("one", 0, set()), ("two", 1, set())):
            log = bench.log(pod)
            assert (await log.begin(Wanted([fence(epoch)]))).lanes == lanes
            await log.rollback()

    bench.run(scenario)


def test_given_a_batch_when_it_is_committed_then_all_of_it_is_there_and_after_a_rollback_nothing(bench: Bench) -> None:
    async def scenario() -> None:
        ownership = await joined(bench, "one")
        await ownership.take([0])
        log = bench.log("one")
        changes = Changes(
            events=[event(1, 1)],
            inbox=[InboxRow(ACTOR, "c1", 1, 0, 7, False, "3")],
            outbox=[OutboxRow(0, number, f"m{number}", "s", "{}", b"") for number in (1, 2, 3)],
        )
        await log.begin(Wanted([fence(1, checkpoint=5, position=1)]))
        await log.rollback()
        await log.begin(Wanted([fence(1, checkpoint=9, position=1)]))
        await log.commit(changes)
        found = await log.begin(Wanted([fence(1, checkpoint=9, position=1)], commands=[(ACTOR, "c1"), (ACTOR, "c2")]))
        assert [(place, entry.seq, entry.result) for place, entry in found.inbox.items()] == [((ACTOR, "c1"), 1, "3")]
        await log.commit(Changes(outbox_done=[(0, 2)]))
        await ownership.release([(0, 1)])
        (taken,) = await (await joined(bench, "two")).take([0])
        assert (taken.epoch, taken.checkpoint, taken.position, taken.unclean) == (2, 9, 1, False)
        assert [row.ord for row in taken.outbox] == [3]

    bench.run(scenario)


def test_given_a_batch_for_which_nothing_is_read_then_it_is_fenced_and_committed_at_once(bench: Bench) -> None:
    async def scenario() -> None:
        ownership = await joined(bench, "one")
        await ownership.take([0, 1])
        log = bench.log("one")
        wanted = Wanted([fence(1, checkpoint=5, position=1), Fence(1, 1, 7, 0, 0)], commands=[(ACTOR, "c1")])
        answer = InboxRow(ACTOR, "c1", 1, 0, 7, False, "3")
        assert await log.commit_at_once(wanted, Changes(events=[event(1, 1)], inbox=[answer]))
        assert await log.commit_at_once(Wanted([fence(1, checkpoint=6, position=1)]), Changes())
        found = await log.begin(Wanted([fence(1, checkpoint=6, position=1)], commands=[(ACTOR, "c1")]))
        assert [entry.result for entry in found.inbox.values()] == ["3"]
        await log.rollback()
        await ownership.release([(0, 1), (1, 1)])
        taken = await (await joined(bench, "two")).take([0, 1])
        assert [(lane.checkpoint, lane.position) for lane in taken] == [(6, 1), (7, 0)]

    bench.run(scenario)


NEXT = Changes(events=[event(2, 2)])


@pytest.mark.parametrize(
    ("wanted", "changes"),
    [
        (Wanted([fence(2, checkpoint=4)]), NEXT),
        (Wanted([fence(1, checkpoint=4), Fence(1, 2, 9, 0, 0)]), NEXT),
        (Wanted([fence(1, checkpoint=4)], commands=[(ACTOR, "new"), (ACTOR, "c1")]), NEXT),
        (Wanted([fence(1, checkpoint=4)], held=[(ACTOR, "p1")]), NEXT),
        (Wanted([fence(1, checkpoint=4)], refused=[(ACTOR, "r1")]), NEXT),
        (Wanted([fence(1, checkpoint=4)], new=[OTHER, ACTOR]), NEXT),
        (Wanted([fence(1, checkpoint=4)]), Changes(inbox=[InboxRow(ACTOR, "c1", 1, 0, 7, False, "4")])),
        (Wanted([fence(1, checkpoint=4)]), Changes(events=[event(1, 2)])),
        (Wanted([fence(1, checkpoint=4)]), Changes(events=[event(2, 2, payload='{"word":"cursed"}')])),
    ],
    ids=["epoch", "a lane of two", "answered", "pending", "refused", "new", "an answer", "sequence", "cursed"],
)
def test_given_what_must_be_looked_at_when_it_is_to_be_committed_at_once_then_nothing_of_it_is(
    bench: Bench, wanted: Wanted, changes: Changes
) -> None:
    async def scenario() -> None:
        ownership = await joined(bench, "one")
        await ownership.take([0, 1])
        log = bench.log("one")
        written = Changes(
            actors=[ActorRow(ACTOR, "t", "k", "a", 0, 0)],
            events=[event(1, 1)],
            inbox=[InboxRow(ACTOR, "c1", 1, 0, 7, False, "3")],
            pending=[pending("p1")],
            refused=[RefusedRow(ACTOR, "r1", 1, 7, 0, 1, "code", '{"code":"code","message":""}')],
        )
        assert await log.commit_at_once(Wanted([fence(1, checkpoint=3, position=1)]), written)
        assert not await log.commit_at_once(wanted, changes)
        # The log takes the next one at once, and has nothing of the last.
        assert await log.commit_at_once(Wanted([fence(1, checkpoint=3, position=1)], new=[OTHER]), NEXT)
        await ownership.release([(0, 1), (1, 1)])
        taken = await (await joined(bench, "two")).take([0, 1])
        assert [(lane.checkpoint, lane.position) for lane in taken] == [(3, 2), (0, 0)]

    bench.run(scenario)


def test_given_lanes_of_the_living_when_they_are_asked_for_then_only_those_of_the_dead_are_taken(bench: Bench) -> None:
    async def scenario() -> None:
        one = await joined(bench, "one")
        await one.take([0])
        two = await joined(bench, "two")
        assert await two.take([0]) == []
        await one.heartbeat(0.1)
        await asyncio.sleep(0.3)
        assert [pod.id for pod in await two.live_pods()] == ["two"]
        (taken,) = await two.take([0])
        assert (taken.epoch, taken.unclean) == (2, True)
        assert (await two.owners()).lanes[0] == ("two", 2)
        assert await two.confirm() == {0: 2}

    bench.run(scenario)


def test_given_a_lane_that_is_being_committed_when_its_owner_is_dead_then_it_is_taken_only_after_it(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        one = await joined(bench, "one")
        await one.take([0])
        two = await joined(bench, "two")
        await one.heartbeat(0.1)
        await asyncio.sleep(0.3)
        log = bench.log("one")
        await log.begin(Wanted([fence(1, position=1)]))
        assert await two.take([0]) == []
        await log.commit(Changes(events=[event(1, 1)]))
        (taken,) = await two.take([0])
        assert taken.position == 1

    bench.run(scenario)


def test_given_a_transaction_that_takes_too_long_when_it_is_committed_then_nothing_is_written(bench: Bench) -> None:
    async def scenario() -> None:
        ownership = await joined(bench, "one")
        await ownership.take([0])
        log = bench.log("one", SHORT_S)
        await log.begin(Wanted([fence(1, position=1)]))
        await asyncio.sleep(SHORT_S + 0.3)
        with pytest.raises((LogRefused, LogUnavailable)):
            await log.commit(Changes(events=[event(1, 1)]))
        assert (await log.begin(Wanted([fence(1)]))).lanes == {0}
        await log.commit(Changes(events=[event(1, 1)]))

    bench.run(scenario)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (Changes(events=[event(1, 2)]), LogUnavailable),
        (Changes(events=[event(2, 1)]), LogUnavailable),
        (Changes(inbox=[InboxRow(ACTOR, "c1", 1, 0, 7, False, "4")]), LogUnavailable),
        (Changes(pending=[pending("p1")]), LogUnavailable),
        (Changes(events=[event(2, 2, payload='{"word":"cursed"}')]), LogRefused),
    ],
    ids=["sequence", "position", "answer", "pending", "cursed"],
)
def test_given_what_must_not_be_written_when_it_is_committed_then_nothing_of_it_is(
    bench: Bench, changes: Changes, error: type[Exception]
) -> None:
    async def scenario() -> None:
        await (await joined(bench, "one")).take([0])
        log = bench.log("one")
        await log.begin(Wanted([fence(1, position=1)]))
        answer = InboxRow(ACTOR, "c1", 1, 0, 7, False, "3")
        await log.commit(Changes(events=[event(1, 1)], inbox=[answer], pending=[pending("p1")]))
        await log.begin(Wanted([fence(1, checkpoint=4, position=2)]))
        changes.outbox = [OutboxRow(0, 1, "m", "s", "{}", b"")]
        with pytest.raises(error):
            await log.commit(changes)
        await asyncio.sleep(0.1)  # a connection that broke is noticed by the server
        found = await log.begin(Wanted([fence(1, position=1)], held=[(ACTOR, "p1")], commands=[(ACTOR, "c1")]))
        assert found.lanes == {0}
        assert (list(found.pending), found.inbox[ACTOR, "c1"].result) == ([(ACTOR, "p1")], "3")
        await log.commit(Changes(events=[event(2, 2)], outbox=[OutboxRow(0, 1, "m", "s", "{}", b"")]))

    bench.run(scenario)


def test_given_pending_commands_that_wait_for_a_time_when_read_then_those_up_to_one_come_and_the_time_of_the_next(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        ownership = await joined(bench, "one")
        await ownership.take([0])
        log, timers = bench.log("one"), bench.timers()
        await log.begin(Wanted([fence(1)]))
        soon = pending("soon")._replace(due_at=1000.0, headers='{"a":"b"}', body=b"body")
        late = pending("late", holds=False)._replace(due_at=4_000_000_000.0)
        later = pending("later")._replace(due_at=4_100_000_000.0)
        await log.commit(Changes(pending=[later, pending("at once"), late, soon]))
        rows, behind = await timers.waiting([0], 2000.0)
        assert (rows, behind) == ([soon._replace(headers="{}", body=b"")], 4_000_000_000.0)
        rows, behind = await timers.waiting([0], 4_000_000_000.0)
        assert {(row.command_id, row.holds, row.due_at) for row in rows} == {
            ("soon", True, 1000.0), ("late", False, 4_000_000_000.0)
        }  # fmt: skip
        assert behind == 4_100_000_000.0
        assert await timers.waiting([0], 5_000_000_000.0) == (
            [row._replace(headers="{}", body=b"") for row in (later, late, soon)], None
        )  # fmt: skip
        assert await timers.waiting([1], 5_000_000_000.0) == ([], None)

    bench.run(scenario)


def test_given_pending_commands_when_an_actor_goes_on_then_they_come_oldest_first_with_their_timers(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        ownership = await joined(bench, "one")
        await ownership.take([0])
        log, timers = bench.log("one"), bench.timers()
        await log.begin(Wanted([fence(1)]))
        soon, late = timer("soon", "f1", 1000.0), timer("late", "f2", 4_000_000_000.0)
        rows = [pending("p2"), pending("p1"), pending("beside", holds=False)]
        await log.commit(Changes(pending=rows, timers={(ACTOR, one.name): one for one in (soon, late)}))
        assert await timers.next_timer([0]) == 1000.0
        assert [row.fire_id for row in await timers.due_timers([0], 2000.0, 10)] == ["f1"]
        ahead = await timers.due_timers([0], 4_000_000_001.0, 10)
        assert [row.fire_id for row in ahead] == ["f1"], "a pod's clock that is ahead makes no timer early"
        await log.begin(Wanted([fence(1)]))
        update = PendingUpdate(ACTOR, "p2", "backoff", 1, 50.0, "why")
        await log.commit(Changes(pending=[pending("f1")], pending_updates=[update]))
        assert await timers.next_timer([0]) == 4_000_000_000.0  # the other one's command waits for its turn
        assert await timers.due_timers([0], 2000.0, 10) == []
        found = await log.begin(Wanted([fence(1)], next_pending=[(0, ACTOR)]))
        assert [(row.command_id, row.state, row.attempts) for row in found.next_pending[ACTOR]] == [
            ("p2", "backoff", 1), ("p1", "waiting", 0), ("f1", "waiting", 0)
        ]  # fmt: skip
        assert found.timers == {(ACTOR, "soon"): "f1", (ACTOR, "late"): "f2"}
        await log.commit(Changes(pending_done=[(ACTOR, "p2"), (ACTOR, "f1")], timers_done=[(ACTOR, "soon")]))
        await ownership.release([(0, 1)])
        (taken,) = await ownership.take([0])
        assert (taken.held, [row.command_id for row in taken.running]) == ({ACTOR: ("k", 1, None)}, ["beside"])

    bench.run(scenario)


def test_given_attempts_when_they_are_counted_then_those_of_one_message_add_up_and_can_be_taken_back(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        await (await joined(bench, "one")).take([0])
        log = bench.log("one")
        counts = [await log.probe([(0, 1, seq)]) for seq in (5, 5, 6, 6, 6)]
        assert counts == [{0: 1}, {0: 2}, {0: 1}, {0: 2}, {0: 3}]
        assert await log.probe([(0, 9, 6)]) == {}
        await log.absolve([(0, 1, 6)])
        assert await log.probe([(0, 1, 6)]) == {0: 3}

    bench.run(scenario)


def test_given_lanes_when_trimming_asks_what_is_needed_then_it_is_the_lowest_checkpoint_and_the_earliest_time(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        await (await joined(bench, "one")).take([0, 1])
        log, keeping = bench.log("one"), bench.keeping()
        assert await keeping.needed() == (0, [], 0)
        # A broker that went back in time has stored a lower sequence later.
        await log.begin(Wanted([Fence(0, 1, 40, 2_000, 0), Fence(1, 1, 30, 3_000, 0)]))
        await log.commit(Changes())
        assert await keeping.needed() == (30, [], 2_000)

    bench.run(scenario)


def test_given_a_group_that_stands_by_when_it_is_promoted_then_its_pods_get_the_lanes_once_the_others_let_go(
    bench: Bench,
) -> None:
    async def scenario() -> None:
        one, two = await joined(bench, "one"), bench.ownership("two", "h")
        await one.take([0, 1])
        await two.register(LANES)
        await two.heartbeat(TTL_S)
        groups, standby = bench.groups(), sorted((await two.owners()).lanes)
        with pytest.raises(CallFailed, match="not ready"):
            await groups.promote("h")
        assert [(taken.partition, taken.standby) for taken in await two.take(standby)] == [(0, True), (1, True)]
        done = await groups.promote("h")
        assert (done.promoted, done.kinds) == (True, sorted(KINDS))
        assert (await groups.promote("h")).promoted is False
        log = bench.log("one")
        assert (await log.begin(Wanted([fence(1)]))).lanes == frozenset()
        await log.rollback()
        assert (await two.owners()).lanes == {0: ("one", 2), 1: ("one", 2)}
        assert await two.take([0, 1]) == [], "its owner lives, and may still answer reads"
        assert await one.owners() == (dict.fromkeys(standby, (None, 2)), True)
        assert await one.yield_moved() == {"h"}
        assert (await one.owners()).moved is False
        taken = await two.take([0, 1])
        assert [(lane.epoch, lane.standby, lane.unclean) for lane in taken] == [(3, False, False)] * 2

    bench.run(scenario)
