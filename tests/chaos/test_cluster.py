"""Three nats-servers: what pods make there is replicated, and the death of the leader stops nothing for good."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nats
import pytest

from tests.chaos.stage import Needs, Stage
from tests.support.kinds import Add, counter
from tests.support.servers import Servers
from tests.support.system import System, run


@pytest.mark.slow
def test_given_three_brokers_when_the_one_that_leads_the_commands_is_killed_then_calls_go_on(tmp_path: Path) -> None:
    stage = Stage(Needs(cluster=True), tmp_path)
    assert stage.cluster is not None
    cluster = stage.cluster
    system = System(Servers(stage.nats_url, stage.postgres_url, "embedded"), "troupe")

    async def scenario() -> None:
        async with system.pod(counter, replicas=3), system.client() as client:
            assert await client.ask(counter, "a", Add(1), timeout_s=30) == 1
            connection = await nats.connect(stage.nats_url.split(","))
            js = connection.jetstream()
            for stream in ("CMD", "INTENT", "EV", "OBJ_troupe-commands"):
                info = await js.stream_info(stream)
                assert info.config.num_replicas == 3, stream
                assert len(info.cluster.replicas or []) == 2 if info.cluster else False, stream
            await connection.close()
            leader = await cluster.leader()
            assert leader is not None
            await asyncio.to_thread(leader.kill)
            assert await client.ask(counter, "a", Add(1), timeout_s=60) == 2
            await asyncio.to_thread(leader.start)
            assert await client.ask(counter, "a", Add(1), timeout_s=60) == 3

    try:
        run(scenario())
    finally:
        stage.close()
