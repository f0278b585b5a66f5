"""A cursor over a session's facts whose connection is bad, over the simulator's broker: its time costs nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from runtime.client.inbox import Inbox
from runtime.client.ordered import SILENCE_S, OrderedReader
from schemas.subjects import EV_STREAM
from tests.simulation.broker import Broker
from tests.simulation.scheduler import Node, Scheduler
from tests.simulation.wire import Wire

SESSION = "ev.default.s"
LIMIT_S = 120.0


def read_over(scenario: Callable[[Broker, Wire, OrderedReader], Awaitable[None]]) -> None:
    """Runs a scenario with an open reader in virtual time; it fails when that does not end."""
    scheduler = Scheduler(1)
    broker, node = Broker(scheduler, 1), Node(scheduler, "reader")

    async def whole() -> None:
        wire = Wire(node, broker)
        inbox = Inbox(wire, "default", "n", lambda body: None)
        await inbox.open()
        reader = OrderedReader(wire, inbox, "r", EV_STREAM, SESSION)
        await reader.open(0)
        broker.facts.append(SESSION, b"", b"1")
        assert (await reader.next()).body == b"1"
        await scenario(broker, wire, reader)

    task = node.start(whole())
    assert scheduler.run(task.done, LIMIT_S), "it never ended"
    task.result()


def test_given_the_last_fact_is_lost_on_its_way_when_nothing_follows_then_it_is_read_all_the_same() -> None:
    async def scenario(broker: Broker, wire: Wire, reader: OrderedReader) -> None:
        broker.drop_p = 1.0
        broker.facts.append(SESSION, b"", b"2")
        broker.drop_p = 0.0
        assert (await reader.next()).body == b"2"

    read_over(scenario)


def test_given_a_connection_on_which_nothing_came_when_all_comes_at_once_then_each_fact_is_read_once() -> None:
    async def scenario(broker: Broker, wire: Wire, reader: OrderedReader) -> None:
        wire.held_until = broker.scheduler.now + SILENCE_S + 3
        for number in (2, 3, 4):
            broker.facts.append(SESSION, b"", b"%d" % number)
        assert [(await reader.next()).body for _ in range(3)] == [b"2", b"3", b"4"]
        broker.facts.append(SESSION, b"", b"5")
        assert (await reader.next()).body == b"5"

    read_over(scenario)
