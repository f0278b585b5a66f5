"""A pod that starts while the servers come and go begins anew until they stay."""

from __future__ import annotations

import asyncio
from typing import Any

import nats.micro
import pytest

from runtime.host import front
from runtime.host.pods import Pods
from tests.support.kinds import Add, counter
from tests.support.links import Links
from tests.support.system import System, run
from tests.support.tcp_proxy import Manner


def test_given_a_broker_that_falls_silent_while_a_pod_starts_then_the_pod_starts_once_it_is_back(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = nats.micro.add_service
    tries = 0

    async def scenario() -> None:
        with Links() as links:
            url = links.open("pod", system.nats_url)

            async def register(*args: Any, **options: Any) -> Any:
                nonlocal tries
                tries += 1
                if tries == 1:
                    links.set("pod", Manner("hole", forget=True))
                try:
                    return await registered(*args, **options)
                finally:
                    links.set("pod", Manner("pass"))
                    monkeypatch.setattr(front, "REGISTER_S", 60.0)

            monkeypatch.setattr(nats.micro, "add_service", register)
            monkeypatch.setattr(front, "REGISTER_S", 0.2)
            pods = Pods(system.settings(nats_url=url), [counter])
            assert await pods.start(asyncio.Event())
            async with system.client() as client:
                assert await client.ask(counter, "a", Add(1)) == 1
            await pods.stop()

    run(scenario())
    assert tries == 2
