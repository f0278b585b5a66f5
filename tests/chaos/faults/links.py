"""Connections that break, in every way but a clean end, between each pair of processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.chaos.faults.fault import Fault, FaultKind
from tests.chaos.stage import Needs
from tests.support.tcp_proxy import Manner, Mode

if TYPE_CHECKING:
    from tests.chaos.faults.injector import Faults

PAIRS = ("pod-nats", "pod-postgres", "client-nats", "gateway-nats")
SLOW_DELAY_S = (0.02, 0.2)
SLOW_BYTES_PER_S = 2_000_000


def _manner(faults: Faults, mode: Mode) -> tuple[Manner, float]:
    """How the link behaves, and for how long (0: once, new connections pass)."""
    chance = faults.chance
    if mode == "cut":
        return Manner("cut"), chance.choice([0.0, 0.5, 3.0])
    if mode == "slow":
        return Manner("slow", delay_s=chance.uniform(*SLOW_DELAY_S), bytes_per_s=SLOW_BYTES_PER_S), 5.0
    if mode == "half-open":
        return Manner("half-open", end=chance.choice(["near", "far"])), 0.0
    return Manner(mode, forget=chance.random() < 0.5), chance.choice([1.0, 3.0, 8.0])


def injecting(mode: Mode) -> Callable[[Faults], Awaitable[None]]:
    """A fault that gives one process's links of one pair this mode. The pairs take turns."""

    async def inject(faults: Faults) -> None:
        assert faults.stage.links is not None
        known = faults.stage.link_names
        pairs = [pair for pair in PAIRS if any(pair in links for links in known.values())]
        turn = sum(fault.kind == mode for fault in faults.history)
        pair = pairs[(turn + PAIRS.index(pairs[0]) + faults.world.settings.seed) % len(pairs)]
        name = faults.chance.choice([name for name, links in known.items() if pair in links])
        manner, seconds = _manner(faults, mode)
        links = list(known[name][pair])
        if len(links) > 1 and pair.endswith("-postgres"):  # one server's away, and the others are not
            links = [faults.chance.choice(links)]
        connections = sum([await asyncio.to_thread(faults.stage.links.set, link, manner) for link in links])
        detail = f"{pair}, {connections} connections"
        detail += f", its {manner.end} end reset" if mode == "half-open" else f", for {seconds} s"
        fault = faults.note(mode, name, detail + (", then reset" if manner.forget else ""))
        faults.spawn(_heal(faults, fault, links, seconds))

    return inject


async def _heal(faults: Faults, fault: Fault, links: list[str], seconds: float) -> None:
    await asyncio.sleep(seconds)
    assert faults.stage.links is not None
    for link in links:
        try:
            await asyncio.to_thread(faults.stage.links.set, link, Manner())
        except LookupError:  # its process has ended
            pass
    fault.until = time.time()


_LINKS = Needs(links=True)
KINDS = (
    FaultKind(
        "cut", "a process's connections to a server are reset; for up to 3 s new ones too", injecting("cut"), _LINKS
    ),
    FaultKind("hole", "a process's way to a server swallows everything for up to 8 s", injecting("hole"), _LINKS),
    FaultKind("slow", "a process's way to a server is thin, and up to 200 ms long, for 5 s", injecting("slow"), _LINKS),
    FaultKind(
        "half-open", "one end of a process's connections is reset; the other never hears of it",
        injecting("half-open"), _LINKS,
    ),
    FaultKind(
        "one-way", "what a server sends to a process does not arrive for up to 8 s", injecting("one-way"), _LINKS
    ),
)  # fmt: skip
