"""Faults that chaos found, each as small as it could be made."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from msgspec import Struct

from runtime.client.connection import connect
from runtime.clock import system_clock
from runtime.entity import entity
from runtime.function import function
from runtime.host.broker import Feed
from runtime.host.command import Command
from runtime.host.committer import Committer
from runtime.host.housekeeping import Housekeeping
from runtime.host.lane import Activation, Activations, Lane, Mailboxes
from runtime.host.meter import Meter
from runtime.host.pod import Pod
from runtime.host.ports import LogUnavailable, PendingRow, Taken, TimerRow
from runtime.host.timers import Timers
from runtime.host.turn_thread import SLOW_S, StuckInHandler, TurnThread
from runtime.infra import NatsServer
from runtime.infra.ports import free_port
from runtime.jetstream.command_stream import JetStreamCommands
from runtime.jetstream.reader import CommandReader
from runtime.jetstream.streams import StreamSettings, ensure
from runtime.policy import RetryPolicy
from runtime.postgres.commit_log import PostgresCommitLog
from runtime.postgres.keeping import PostgresKeeping
from runtime.turn import Turn
from schemas.address import Address, actor_id, partition_of
from tests.chaos.stage import broker
from tests.support.kinds import Add, counter
from tests.support.patience import PATIENCE_S
from tests.support.system import PodProcess, System, run, until


def lane_of(number: int) -> Lane:
    """A lane just taken, with nothing in it."""
    taken = Taken(number, number, 1, 0, 0, 0, False, {}, [], frozenset(), [], 0, 0, False, False)
    return Lane(taken, f"test_{number}", 0, Mailboxes())


# -- timers -----------------------------------------------------------------------------------------------------------


class SlowRows:
    """Timer rows in memory, whose answers take a moment: what is set meanwhile is not in them."""

    def __init__(self) -> None:
        self.rows: list[TimerRow] = []
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def next_timer(self, lanes: Sequence[int]) -> float | None:
        """See TimerSource."""
        found = min((row.due_at for row in self.rows if row.lane in lanes), default=None)
        self.asked.set()
        await self.answer.wait()
        return found

    async def due_timers(self, lanes: Sequence[int], now: float, limit: int) -> list[TimerRow]:
        """See TimerSource."""
        return [row for row in self.rows if row.lane in lanes and row.due_at <= now][:limit]

    async def waiting(self, lanes: Sequence[int], until: float) -> tuple[list[PendingRow], float | None]:
        """See TimerSource."""
        return [], None

    async def close(self) -> None:
        """See TimerSource."""


def timer_row(lane: int, due_at: float) -> TimerRow:
    """A timer that adds one."""
    actor = actor_id("default", "counter", "a")
    return TimerRow(actor, "later", lane, due_at, "f" * 32, "default", "counter", "a", "add", "{}", b'{"amount":1}')


def test_given_a_timer_set_while_the_rows_are_read_when_it_is_due_then_it_fires() -> None:
    async def scenario() -> None:
        source, lane = SlowRows(), lane_of(1)
        fired: asyncio.Queue[Command] = asyncio.Queue()
        timers = Timers(source, lambda: [lane], fired.put_nowait, system_clock)
        running = asyncio.ensure_future(timers.run())
        await source.asked.wait()
        source.rows.append(timer_row(1, system_clock.now()))
        timers.due(source.rows[0].due_at)  # what a commit does, after the rows were read and before the answer is here
        source.answer.set()
        assert (await asyncio.wait_for(fired.get(), PATIENCE_S)).id == "f" * 32
        running.cancel()

    run(scenario())


def test_given_lanes_taken_while_the_rows_are_read_when_their_timers_are_due_then_they_fire() -> None:
    async def scenario() -> None:
        source, lanes = SlowRows(), [lane_of(1)]
        fired: asyncio.Queue[Command] = asyncio.Queue()
        timers = Timers(source, lambda: lanes, fired.put_nowait, system_clock)
        running = asyncio.ensure_future(timers.run())
        await source.asked.wait()
        source.rows.append(timer_row(2, system_clock.now()))
        lanes.append(lane_of(2))
        timers.reread()
        source.answer.set()
        assert (await asyncio.wait_for(fired.get(), PATIENCE_S)).lane is lanes[1]
        running.cancel()

    run(scenario())


def test_given_a_lane_lost_while_its_due_rows_are_read_when_it_is_taken_again_then_they_fire() -> None:
    async def scenario() -> None:
        source, owned = SlowRows(), [lane_of(1)]
        source.rows.append(timer_row(1, system_clock.now()))
        fired: asyncio.Queue[Command] = asyncio.Queue()
        timers = Timers(source, lambda: owned, fired.put_nowait, system_clock)
        source.answer.set()
        reading = source.due_timers

        async def lose_the_lane(lanes: Sequence[int], now: float, limit: int) -> list[TimerRow]:
            rows = await reading(lanes, now, limit)
            source.due_timers = reading  # type: ignore[method-assign]  # once is enough
            owned[0].lose()
            timers.forget(owned[0])
            owned[0] = lane_of(1)
            timers.reread()
            return rows

        source.due_timers = lose_the_lane  # type: ignore[method-assign]  # what happens while Postgres answers
        running = asyncio.ensure_future(timers.run())
        assert (await asyncio.wait_for(fired.get(), PATIENCE_S)).lane is owned[0]
        running.cancel()

    run(scenario())


# -- turns ------------------------------------------------------------------------------------------------------------


def test_given_many_short_turns_when_the_batch_takes_long_then_nobody_is_blamed() -> None:
    async def scenario() -> None:
        thread = TurnThread()
        turns, limit_s = 0, 4 * SLOW_S

        def batch() -> None:
            nonlocal turns
            while turns < 30:
                time.sleep(limit_s / 25)
                turns += 1

        await thread.run(batch, limit_s, progress=lambda: turns)
        assert turns == 30
        thread.close()

    run(scenario())


def test_given_one_turn_that_takes_long_when_others_went_before_then_it_is_found_out() -> None:
    async def scenario() -> str:
        thread = TurnThread()
        turns, over = 0, threading.Event()

        def batch() -> None:
            nonlocal turns
            turns = 5
            over.wait(PATIENCE_S)

        try:
            await thread.run(batch, progress=lambda: turns)
        except StuckInHandler:
            return "found out"
        finally:
            over.set()
            thread.close()
        return "missed"

    assert run(scenario()) == "found out"


def test_given_a_shared_execution_when_its_caller_repeats_the_command_then_it_runs_once(system: System) -> None:
    runs: list[int] = []

    @function
    async def slow(n: int) -> int:
        runs.append(n)
        await asyncio.sleep(2.5)  # the client asks again after a second, under the same id
        return n

    async def scenario() -> None:
        async with system.pod(slow) as pod, system.client() as client:
            assert await client.ask(slow, "any", "run", {"n": 7}) == 7
            assert pod.meter.log_losses == 0

    run(scenario())
    assert runs == [7]
    assert system.sql("SELECT count(*) FROM inbox") == [(1,)]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]


def test_given_a_lane_whose_backlog_is_freed_when_a_batch_is_taken_then_its_order_is_kept(system: System) -> None:
    log = PostgresCommitLog(system.postgres_url, "nobody", "v", 2.0)

    async def lost(error: Exception) -> None:
        raise error

    committer = Committer(
        log, {}, Activations(10, 10), system_clock, Meter(), max_batch=10, after=lambda *_: None, lost=lost,
        principal_of=lambda _: None, turns=TurnThread(),
    )  # fmt: skip
    lane, commands = lane_of(1), []
    for number in range(1, 4):
        command = Command(lane, Address("default", "counter", "a"), "a", "add", {"Troupe-Id": str(number)}, b"")
        command.stream_seq = number
        command.absent = number == 2  # its body is being fetched
        commands.append(command)
        committer.put(command)
    commands[1].absent = False
    committer.ungate(lane)
    batch, _ = committer._take()
    batch += committer._take()[0]
    assert [command.id for command in batch if isinstance(command, Command)] == ["1", "2", "3"]
    committer.close()


# -- loading ----------------------------------------------------------------------------------------------------------


class Total(Struct, frozen=True):
    value: int = 0


class Counted(Struct, frozen=True):
    amount: int


def slow_apply(state: Total, event: Counted) -> Total:
    """A fold that takes its time."""
    time.sleep(0.001)
    return Total(state.value + event.amount)


ledger = entity("ledger", initial=Total(), apply=slow_apply, snapshot_every=0)


@ledger.command
def count(state: Total, amounts: list[int]) -> list[Counted]:
    return [Counted(amount) for amount in amounts]


def long_log(system: System, events: int) -> None:
    """Leaves an actor `a` with a log too long to be loaded inside a commit."""

    async def scenario() -> None:
        async with system.pod(ledger), system.client() as client:
            for _ in range(events // 50):
                await client.ask(ledger, "a", "count", {"amounts": [1] * 50})

    run(scenario())


def test_given_a_lane_lost_while_an_actor_is_loaded_when_it_is_taken_again_then_its_commands_go_on(
    system: System,
) -> None:
    long_log(system, 800)

    async def scenario() -> None:
        async with system.pod(ledger) as pod, system.client() as client:
            asking = asyncio.ensure_future(client.ask(ledger, "a", "count", {"amounts": [1]}))
            await until(lambda: pod.loader._tasks)
            for lane in list(pod.lanes.values()):
                pod.lose(lane)
            pod.leases.look_now()
            await asking

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(801,)]


def test_given_an_actor_that_moved_on_when_an_older_load_of_it_ends_then_memory_stays_as_committed(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            for _ in range(3):
                await client.ask(counter, "a", Add(1))
            actor = actor_id("default", "counter", "a")
            now = pod.activations.get(actor)
            assert now is not None
            older = Activation(now.lane, now.address, 1, counter.initial(), 0, now.used_at)
            pod._on_loaded(now.lane, actor, older)
            assert await client.query(counter, "a", "value") == 3
            assert await client.ask(counter, "a", Add(1)) == 4
            assert pod.meter.log_losses == 0

    run(scenario())


def test_given_a_fold_that_takes_long_when_it_fits_a_commit_then_the_pod_goes_on_with_others(system: System) -> None:
    """Inside the commit it would be given up, and the whole batch with it, again and again."""
    long_log(system, 500)

    async def scenario() -> None:
        async with system.pod(ledger) as pod, system.client() as client:
            asks = [client.ask(ledger, key, "count", {"amounts": [1]}, timeout_s=120) for key in ("a", "b", "c")]
            await asyncio.gather(*asks)
            assert pod.meter.log_losses == 0

    run(scenario())
    assert system.sql("SELECT count(*) FROM events") == [(503,)]


# -- ownership --------------------------------------------------------------------------------------------------------


def test_given_a_release_that_was_lost_when_lanes_are_looked_at_again_then_they_are_released(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as first:
            release, failures = first.ownership.release, 1

            async def fails_once(lanes: Sequence[tuple[int, int]]) -> None:
                nonlocal failures
                if failures:
                    failures -= 1
                    raise LogUnavailable("the connection broke before the release was sent")
                await release(lanes)

            await until(lambda: len(first.lanes) == system.partitions)
            first.ownership.release = fails_once  # type: ignore[method-assign]  # the connection that breaks once
            async with system.pod(counter) as second, system.client() as client:
                await until(lambda: len(first.lanes) == len(second.lanes) == system.partitions // 2)
                assert failures == 0
                answers = [client.ask(counter, f"k{n}", Add(1), timeout_s=120) for n in range(40)]
                assert await asyncio.gather(*answers) == [1] * 40

    run(scenario())


def test_given_a_pod_that_fell_silent_when_lanes_come_free_then_another_one_stands_in(system: System) -> None:
    long_s = 120.0  # the frozen pod's lease is not what is waited for
    pods = [system.start_pod(lease_ttl_s=long_s) for _ in range(3)]

    def owned(pod: PodProcess) -> int:
        return int(system.sql("SELECT count(*) FROM partitions WHERE owner = %s", pod.name)[0][0])

    async def scenario() -> None:
        await until(lambda: sorted(owned(pod) for pod in pods) == [2, 3, 3])
        frozen, leaver, left = pods
        kept = owned(frozen)
        frozen.freeze()
        assert leaver.terminate() == 0
        await until(lambda: owned(left) == system.partitions - kept)
        frozen.wake()
        await until(lambda: owned(left) == owned(frozen) == system.partitions // 2)

    run(scenario())


def test_given_a_lane_that_takes_long_to_hand_over_when_another_comes_free_then_it_is_taken_meanwhile(
    system: System,
) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as first:
            await until(lambda: len(first.lanes) == system.partitions)
            slow = asyncio.Event()
            drain = first.leases._drain

            async def drain_slowly(lane: Lane) -> None:
                await slow.wait()
                await drain(lane)

            first.leases._drain = drain_slowly
            second = system.start_pod()
            await until(lambda: len(first.leases._giving) == system.partitions // 2)
            gone = next(iter(set(first.lanes) - set(first.leases._giving)))
            first.lose(first.lanes[gone])  # as if it had been somebody else's
            await until(lambda: gone in first.lanes)
            slow.set()
            await until(lambda: len(first.lanes) == system.partitions // 2)
            assert second.terminate() == 0

    run(scenario())


# -- the end of a pod -----------------------------------------------------------------------------------------------


def test_given_a_broker_that_is_gone_when_a_connection_with_unsent_messages_is_closed_then_it_closes(
    tmp_path: Path,
) -> None:
    server = NatsServer(tmp_path / "nats", free_port(), "secret")
    server.start()

    async def scenario() -> None:
        connection = await connect(server.url, name="test")
        server.kill()
        await until(lambda: not connection.is_connected)
        connection.post("any", b"unsent")
        await connection.close()
        assert connection.is_closed

    uvloop.run(scenario())


def test_given_a_handler_that_writes_to_stderr_for_ever_when_its_pod_ends_then_it_ends_in_order(system: System) -> None:
    pod = system.start_pod("tests.host.chatty")

    async def scenario() -> None:
        async with system.client() as client:
            await client.tell("chatty", "a", "chatter")
            await until(lambda: system.sql("SELECT count(*) FROM pending WHERE state = 'running'") == [(1,)])

    run(scenario())
    assert pod.terminate() == 0, f"the pod must end by itself, not by signal {signal.SIGABRT}"


# -- the reader -------------------------------------------------------------------------------------------------------


def test_given_a_message_not_handed_on_when_a_lane_is_asked_then_it_is_not_caught_up(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", Add(1))
            last = (await pod.connection.jetstream().stream_info("CMD")).state.last_seq
            number = partition_of("default", "counter", "a", system.partitions)
            feed = pod.lanes[number].feed
            assert feed.taken == last
            assert await pod.commands.caught_up(feed, last)
            behind = Feed("behind", number, last - 1, 0, lambda: 0)
            behind.reading = True
            assert not await pod.commands.caught_up(behind, last)
            assert await pod.commands.caught_up(behind, last - 1)
            await pod.connection.request("cmd.default.other.a.add", b"{}")  # a kind that this group does not serve
            assert await pod.commands.caught_up(feed, last + 1)

    run(scenario())


def test_given_a_reader_that_was_moved_too_far_when_a_message_comes_then_it_is_not_skipped(system: System) -> None:
    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await client.ask(counter, "a", Add(1))
            feed = pod.lanes[partition_of("default", "counter", "a", system.partitions)].feed
            feed.taken += 1000
            await client.tell(counter, "a", Add(1))
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(2,)])

    run(scenario())


# -- trimming ---------------------------------------------------------------------------------------------------------


def test_given_sequences_that_come_again_when_a_lane_has_not_read_them_then_nothing_of_them_is_trimmed(
    system: System,
) -> None:
    """A power cut, or a recreated stream, while a lane has no owner: its checkpoint is about messages that are gone."""

    async def scenario() -> None:
        async with system.pod(counter) as pod, system.client() as client:
            await asyncio.gather(*[client.ask(counter, f"k{n}", Add(1)) for n in range(20)])
            await pod.housekeeping.move_anchors()
            await until(lambda: system.sql("SELECT min(checkpoint) FROM partitions") == [(20,)])
        connection = await connect(system.nats_url, name="test")
        await connection.jetstream().delete_stream("CMD")
        await ensure(connection, StreamSettings(partitions=system.partitions))
        async with system.client() as client:
            for n in range(30):
                await client.tell(counter, f"k{n}", Add(1))
        keeping = PostgresKeeping(system.postgres_url)
        house = Housekeeping(
            JetStreamCommands(connection), CommandReader(connection, ["counter"], lambda *_: None, system_clock),
            keeping, list, lambda anchor: None, system_clock, lambda name: asyncio.sleep(0, b""),
            trim_lag_s=0.0, inbox_window_s=60.0,
        )  # fmt: skip
        assert await house.trim() == 0
        assert (await connection.jetstream().stream_info("CMD")).state.messages == 30
        async with system.pod(counter) as pod:
            await until(lambda: system.sql("SELECT count(*) FROM events") == [(50,)])
            await pod.housekeeping.move_anchors()
            await until(lambda: system.sql("SELECT min(checkpoint) FROM partitions") == [(30,)])
            assert await house.trim() == 30
        await keeping.close()
        await connection.close()

    run(scenario())

# -- starting ---------------------------------------------------------------------------------------------------------


def test_given_a_pod_that_still_starts_when_its_connection_is_made_anew_then_nothing_breaks(system: System) -> None:
    pod = Pod(system.settings(), [counter])
    asyncio.run(pod._on_reconnect())  # what its connection calls, from the moment that it is open


# -- connections to NATS -----------------------------------------------------------------------------------------------


def test_given_a_connection_that_is_gone_when_somebody_subscribes_before_it_is_noticed_then_the_reconnect_brings_it(
    system: System,
) -> None:
    """On uvloop nats-py's flusher ends by the RuntimeError of a closed transport, and then raised it at subscribers."""

    async def scenario() -> None:
        heard: list[bytes] = []
        connection = await connect(system.nats_url, name="test")
        writer = getattr(connection._transport, "_io_writer", None)
        assert writer is not None
        assert connection._flusher_task is not None
        connection._flusher_task.cancel()  # as it ends by itself when it is the first to meet the closed transport
        await asyncio.wait([connection._flusher_task])
        writer.transport.abort()
        for _ in range(3):
            await connection.subscribe_direct("gone.*", lambda subject, reply, body, headers: heard.append(body))
        assert await connection.wait_connected(PATIENCE_S)
        await until(lambda: connection.stats["reconnects"] > 0)
        await connection.publish("gone.a", b"x")
        await until(lambda: heard == [b"x"] * 3)
        await connection.close()

    uvloop.run(scenario())


# -- a full stream ----------------------------------------------------------------------------------------------------


@function(name="patient", retry=RetryPolicy(max_attempts=1), timeout_s=None)
async def patient(ctx: Turn, mark: str) -> int:
    """Asks once the file `mark` is there."""
    while not Path(mark).exists():
        await asyncio.sleep(0.02)
    return int(await ctx.ask(counter, "asked", Add(1)))


def test_given_an_execution_that_asks_when_the_stream_is_full_then_it_waits_for_room_and_is_not_failed(
    system: System, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"

    async def scenario() -> None:
        async with system.pod(counter, patient), system.client() as client:
            await client.submit(patient, "a", "run", {"mark": str(mark)})
            await until(lambda: system.sql("SELECT count(*) FROM pending WHERE state = 'running'") == [(1,)])
            limit = await broker.fill_commands(system.nats_url)
            mark.touch()
            await asyncio.sleep(1.0)
            await broker.set_limit(system.nats_url, limit)
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(0,)])
            assert await client.query(counter, "asked", "value") == 1
            assert system.sql("SELECT error FROM dead_letters") == []

    run(scenario())
