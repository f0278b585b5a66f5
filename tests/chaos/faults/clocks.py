"""Wall clocks of pods that jump by minutes, ahead and back. Their monotonic clocks go on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.chaos.faults.fault import Fault, FaultKind
from tests.chaos.stage import Needs, clocks
from tests.support.system import PodProcess

if TYPE_CHECKING:
    from tests.chaos.faults.injector import Faults

WRONG_S = (2.0, 8.0)
FARTHEST_S = 600.0


async def clock(faults: Faults) -> None:
    pod = await faults.pod(at_least=1)
    minutes = faults.chance.choice([-1, 1]) * faults.chance.uniform(60.0, FARTHEST_S)
    wrong_s = clocks.REREAD_S + faults.chance.uniform(*WRONG_S)
    fault = faults.note("clock", pod.name, f"{minutes:+.0f} s, for {wrong_s:.1f} s")
    _set(faults, pod, minutes)
    faults.spawn(_right(faults, fault, pod, wrong_s))


async def _right(faults: Faults, fault: Fault, pod: PodProcess, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    _set(faults, pod, 0.0)
    fault.until = time.time()


def _set(faults: Faults, pod: PodProcess, seconds: float) -> None:
    found = faults.stage.clocks.get(faults.world.place_of(pod))
    if found is not None:  # else the pod has ended
        found.set(seconds)


KINDS = (
    FaultKind(
        "clock", "the wall clock of a pod jumps by up to ten minutes, and back some seconds later",
        clock, Needs(clocks=True), clocks.missing,
    ),
)  # fmt: skip
