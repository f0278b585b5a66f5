"""Gateways that are killed and frozen. Their clients find another one, or wait."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.chaos.faults.fault import Fault, FaultKind

if TYPE_CHECKING:
    from tests.chaos.faults.injector import Faults
    from tests.chaos.world import Gateway


async def kill(faults: Faults) -> None:
    gateway = _victim(faults)
    if gateway is None:
        return
    fault = faults.note("gateway-kill", gateway.name)
    faults.world.kill_gateway(gateway)
    faults.spawn(_start_later(faults, fault, gateway.port, faults.chance.uniform(0.0, 1.0)))


async def stop(faults: Faults) -> None:
    gateway = _victim(faults)
    if gateway is None:
        return
    frozen_s = faults.chance.uniform(1.0, 6.0)
    fault = faults.note("gateway-stop", gateway.name, f"for {frozen_s:.1f} s")
    faults.world.freeze(gateway)
    faults.spawn(_wake_later(faults, fault, gateway, frozen_s))


def _victim(faults: Faults) -> Gateway | None:
    """A gateway that listens and is not frozen; None when there is none."""
    world = faults.world
    running = [gateway for gateway in world.gateways if gateway in world.up and gateway not in world.frozen]
    return faults.chance.choice(running) if running else None


async def _start_later(faults: Faults, fault: Fault, port: int, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    await faults.world.start_gateway(port)
    fault.until = time.time()


async def _wake_later(faults: Faults, fault: Fault, gateway: Gateway, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    faults.world.wake(gateway)
    fault.until = time.time()


KINDS = (
    FaultKind("gateway-kill", "SIGKILL of a gateway; another starts on its port within a second", kill),
    FaultKind("gateway-stop", "SIGSTOP of a gateway for some seconds, then SIGCONT", stop),
)
