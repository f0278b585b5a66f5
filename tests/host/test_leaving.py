"""A pod that leaves ends in order, whatever the servers do meanwhile."""

from __future__ import annotations

from tests.support.kinds import Add, counter
from tests.support.links import Links
from tests.support.system import System, run
from tests.support.tcp_proxy import Manner


def test_given_a_broker_that_falls_silent_when_a_pod_leaves_then_it_ends_in_order(system: System) -> None:
    async def scenario() -> None:
        with Links() as links:
            url = links.open("pod", system.nats_url)
            async with system.pod(counter, nats_url=url), system.client() as client:
                assert await client.ask(counter, "a", Add(1)) == 1
                links.set("pod", Manner("hole"))  # what says so is not told to the pod: it is connected, and waits

    run(scenario())
    assert system.sql("SELECT count(*) FROM pods") == [(0,)]
    assert system.sql("SELECT count(*) FROM partitions WHERE owner IS NOT NULL") == [(0,)]
