"""Pods that are killed, frozen, replaced, and that come and go."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.chaos.faults.fault import Fault, FaultKind
from tests.support.system import PodProcess

if TYPE_CHECKING:
    from tests.chaos.faults.injector import Faults

LEASE_TTL_S = 2.0
"""The pods' default. A frozen pod sleeps longer than that, so that it must be fenced when it wakes."""

MOST_MORE_PODS = 2
"""By how many more than the settings' pods may run."""


async def kill(faults: Faults) -> None:
    pod = await faults.pod()
    fault = faults.note("kill", pod.name, lanes=await faults.lanes_of(pod))
    faults.world.kill_pod(pod)
    faults.spawn(_start_later(faults, fault, faults.chance.uniform(0.0, 1.0)))


async def stop(faults: Faults) -> None:
    pod = await faults.pod()
    frozen_s = LEASE_TTL_S + faults.chance.uniform(0.8, 2.0)
    fault = faults.note("stop", pod.name, f"for {frozen_s:.1f} s", await faults.lanes_of(pod))
    faults.world.freeze(pod)
    faults.spawn(_wake_later(faults, fault, pod, frozen_s))


async def term(faults: Faults) -> None:
    pod = await faults.pod()
    fault = faults.note("term", pod.name, lanes=await faults.lanes_of(pod))
    faults.spawn(_replace(faults, fault, pod))


async def churn(faults: Faults) -> None:
    """One more pod, or one less."""
    running, usual = len(faults.world.running()), faults.world.settings.pods
    joins = running < usual or (running < usual + MOST_MORE_PODS and faults.chance.random() < 0.5)
    if joins:
        fault = faults.note("churn", "a new pod", f"joins {running}")
        faults.spawn(_start_later(faults, fault, 0.0))
        return
    pod = await faults.pod()
    fault = faults.note("churn", pod.name, lanes=await faults.lanes_of(pod))
    faults.spawn(_leave(faults, fault, pod))


async def _start_later(faults: Faults, fault: Fault, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    await faults.world.start_pod()
    fault.until = time.time()


async def _wake_later(faults: Faults, fault: Fault, pod: PodProcess, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    faults.world.wake(pod)
    fault.until = time.time()


async def _replace(faults: Faults, fault: Fault, pod: PodProcess) -> None:
    starting = asyncio.ensure_future(faults.world.start_pod())
    await _leave(faults, fault, pod)
    await starting


async def _leave(faults: Faults, fault: Fault, pod: PodProcess) -> None:
    code = await faults.world.terminate_pod(pod)
    fault.detail = f"leaves with exit code {code}"
    fault.until = time.time()
    if code != 0:
        faults.world.died.append(f"pod {pod.name} ended with exit code {code} after SIGTERM, and not with 0")


KINDS = (
    FaultKind("kill", "SIGKILL of a pod; another starts within a second", kill),
    FaultKind("stop", "SIGSTOP of a pod until its lease is over, then SIGCONT: it must be fenced", stop),
    FaultKind("term", "SIGTERM of a pod, while its successor starts", term),
    FaultKind("churn", f"a pod joins, or one leaves by SIGTERM; up to {MOST_MORE_PODS} more than usual run", churn),
)
