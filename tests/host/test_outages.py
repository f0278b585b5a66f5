"""A server is killed and stays away for a while: callers wait, and everything resumes by itself."""

from __future__ import annotations

import asyncio

import pytest

from runtime.infra import Infra
from tests.host.test_ownership import assert_exactly_once, under_load
from tests.support.system import System, run

AWAY_S = 3.0


@pytest.mark.parametrize("name", ["nats", "postgres"])
def test_given_a_server_killed_for_a_while_when_it_is_back_then_work_resumes_exactly_once(
    infra: Infra, own_system: System, name: str
) -> None:
    server = infra.nats if name == "nats" else infra.postgres
    pod = own_system.start_pod()

    async def scenario() -> dict[str, list[int]]:
        async def fault() -> None:
            await asyncio.to_thread(server.kill)
            await asyncio.sleep(AWAY_S)
            await asyncio.to_thread(server.start)

        return await under_load(own_system, fault)

    assert_exactly_once(own_system, run(scenario()))
    assert pod.process.poll() is None, "the pod should have lived through it"


def test_given_no_servers_when_a_pod_starts_then_it_waits_for_them(infra: Infra, own_system: System) -> None:
    infra.postgres.kill()

    async def scenario() -> None:
        starting = asyncio.ensure_future(asyncio.to_thread(own_system.start_pod))
        await asyncio.sleep(2.0)
        assert not starting.done()
        await asyncio.to_thread(infra.postgres.start)
        await starting
        async with own_system.client() as client:
            assert await client.ask("counter", "a", "add", {"amount": 2}) == 2

    run(scenario())
