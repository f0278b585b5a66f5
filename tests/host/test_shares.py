"""A lane that one tenant floods: the others are answered meanwhile, nothing is lost, and each key keeps its order."""

from __future__ import annotations

import nats
import pytest

from runtime.errors import CallFailed
from runtime.host import quotas
from runtime.host.pod import Pod
from tests.support.kinds import Add, counter
from tests.support.system import System, run, until

FLOOD = 5_000
KEYS = 10
OTHERS = ("umbrella", "initech", "hooli")


@pytest.fixture
def narrow(system: System) -> System:
    """All keys share one lane."""
    system.partitions = 1
    return system


async def flood(system: System) -> None:
    """Stores commands of tenant `acme`, whose amounts grow, while no pod runs."""
    async with system.pod(counter):
        before = await _stored(system)
    connection = await nats.connect(system.nats_url)
    for amount in range(1, FLOOD + 1):
        await connection.publish(f"cmd.acme.counter.k{amount % KEYS}.add", b'{"amount":%d}' % amount)
        if amount % 500 == 0:
            await connection.flush(60)
    await connection.close()

    async def stored() -> bool:
        return await _stored(system) == before + FLOOD

    await until(stored)


async def _stored(system: System) -> int:
    """The last message's place in the stream."""
    connection = await nats.connect(system.nats_url)
    try:
        return (await connection.jetstream().stream_info("CMD")).state.last_seq
    finally:
        await connection.close()


async def known(system: System) -> None:
    """The others are tenants before there is a flood."""
    async with system.pod(counter):
        await ask_others(system, 1)


async def ask_others(system: System, expected: int) -> None:
    """Each of the others asks, one after the other, and is answered."""
    for tenant in OTHERS:
        async with system.client(tenant) as client:
            assert await client.ask(counter, "k1", Add(1), timeout_s=300) == expected


def done(system: System, tenant: str) -> int:
    """How many events a tenant has."""
    ((count,),) = system.sql("SELECT count(*) FROM events WHERE tenant = %s", tenant)
    return int(count)


def check_flood(system: System) -> None:
    """Each command of the flood is done, once, and those of a key in their order."""
    rows = system.sql("SELECT key, (payload->>'amount')::int FROM log WHERE tenant = 'acme' ORDER BY key, seq")
    assert rows == sorted((f"k{amount % KEYS}", amount) for amount in range(1, FLOOD + 1))


async def ask_behind(system: System) -> None:
    """Stores a command of each of the others, while no pod runs."""
    connection = await nats.connect(system.nats_url)
    for tenant in OTHERS:
        await connection.publish(f"cmd.{tenant}.counter.k1.add", b'{"amount":1}')
    await connection.flush(60)
    await connection.close()


def all_done(system: System, times: int) -> bool:
    """Whether each of the others has so many events."""
    return [done(system, tenant) for tenant in OTHERS] == [times] * len(OTHERS)


def check_others(system: System) -> None:
    """What was stored behind the flood was done before its end: positions are those of the one lane."""
    ((others, acme),) = system.sql(
        "SELECT max(position) FILTER (WHERE tenant <> 'acme' AND seq = 2), max(position) FILTER (WHERE tenant = 'acme')"
        " FROM events"
    )
    assert others < acme


def test_given_a_lane_that_a_tenant_floods_when_others_ask_then_they_are_answered_while_the_flood_still_waits(
    narrow: System,
) -> None:
    def joined(pod: Pod) -> bool:
        return not pod.sharing.divided and all(lane.shares is None for lane in pod.lanes.values())

    async def scenario() -> None:
        await known(narrow)
        await flood(narrow)
        await ask_behind(narrow)
        async with narrow.pod(counter) as pod:
            await until(lambda: all_done(narrow, 2))
            await until(lambda: done(narrow, "acme") == FLOOD, timeout_s=300)
            check_others(narrow)
            await until(lambda: joined(pod))
            await ask_others(narrow, 3)
            (lane,) = pod.lanes.values()
            await until(lambda: lane.queued == 0)
            assert lane.checkpoint == lane.feed.taken == FLOOD + 3 * len(OTHERS)
        check_flood(narrow)

    run(scenario())


def test_given_a_divided_lane_when_its_pod_is_killed_then_nothing_is_lost_and_each_key_keeps_its_order(
    narrow: System,
) -> None:
    async def scenario() -> None:
        await known(narrow)
        await flood(narrow)
        await ask_behind(narrow)
        first = narrow.start_pod()
        await until(lambda: all_done(narrow, 2))
        first.kill()
        narrow.start_pod()
        await until(lambda: done(narrow, "acme") >= FLOOD, timeout_s=300)
        check_others(narrow)
        await ask_others(narrow, 3)
        check_flood(narrow)
        assert all_done(narrow, 3)

    run(scenario())


def test_given_a_quota_when_more_of_a_tenant_waits_then_it_alone_is_refused_until_less_does(
    narrow: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "SAID_EVERY_S", 0.05)

    async def scenario() -> None:
        await known(narrow)
        await flood(narrow)
        async with narrow.client("acme") as client:

            async def refused() -> bool:
                try:
                    await client.tell(counter, "more", Add(1), timeout_s=300)
                except CallFailed as error:
                    assert error.code == "too_many_requests"
                    assert error.details["waiting"] >= error.details["limit"] == 500
                    return True
                return False

            async def taken() -> bool:
                return not await refused()

            async with narrow.pod(counter, tenant_backlog="10 acme=500"):
                await until(refused)
                await ask_others(narrow, 2)
                await until(taken, timeout_s=300)

    run(scenario())


def test_given_a_tenant_alone_when_much_of_it_waits_then_nothing_is_divided_and_nothing_read_twice(
    narrow: System,
) -> None:
    async def scenario() -> None:
        await flood(narrow)
        async with narrow.pod(counter) as pod:
            await until(lambda: done(narrow, "acme") == FLOOD, timeout_s=300)
            assert pod.sharing.divisions == 0
        check_flood(narrow)

    run(scenario())
