"""Three nats-servers, of which the one that leads the stream of commands dies, again and again."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.chaos.faults.fault import FaultKind
from tests.chaos.stage import Needs, broker

if TYPE_CHECKING:
    from tests.chaos.faults.injector import Faults


REST_S = 6.0
"""A new leader is elected within some ten seconds, by the servers' own time-outs."""


async def leader(faults: Faults) -> None:
    cluster = faults.stage.cluster
    assert cluster is not None
    async with faults.stage.nats_in_use:
        while (member := await cluster.leader()) is None:
            await asyncio.sleep(0.1)
        down_s = faults.chance.choice([0.5, 2.0, 5.0])
        fault = faults.note("cluster", member.member_name, f"led CMD, down for {down_s} s")
        await broker.crash(member, down_s)
        fault.until = time.time()


KINDS = (
    FaultKind(
        "cluster", "three nats-servers with replicated streams: SIGKILL of the one that leads CMD", leader,
        Needs(cluster=True), rest_s=REST_S,
    ),
)  # fmt: skip
