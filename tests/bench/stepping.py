"""Runs of workflows: saturated with steps, alone, asleep, killed, and replayed."""

from __future__ import annotations

import asyncio
import time

import uvloop

from runtime.client import Client
from tests.bench.activation import call_each
from tests.bench.figures import Figures
from tests.bench.messaging import KEYS, describe
from tests.bench.processor import resident_bytes
from tests.bench.rate import measure
from tests.bench.stage import Miscounted, Scene, Stage

LOAD = "tests.bench.runs"
RUNS = 256
"""At the same time."""

STEPS = 50
"""Of each of these."""

PODS = 2
IN_FLIGHT = 512
LOOK_S = 0.02
CACHED = 66_000
"""Addresses that fill a pod's caches of them: those of runs take the places of others then."""
LONGEST_S = 180.0
SUSPEND_AFTER_S = 0.5
RECORDED = "SELECT count(*) FROM events WHERE type = 'troupe.step'"
ANSWERED = "SELECT count(*) FROM inbox"
ASLEEP = "SELECT count(*) FROM pending WHERE state = 'waiting'"


def saturated(stage: Stage, seconds: float, figures: Figures) -> None:
    """256 runs of 50 steps at the same time, on two pods; a run takes its time, so it is measured for twice as long."""
    with stage.scene(pods=PODS) as scene:
        url = scene.system.nats_url
        rate = measure(scene, LOAD, url, KEYS, processes=1, in_flight=RUNS, seconds=2 * seconds, steps=STEPS)
        recorded, meter = scene.system.sql(RECORDED)[0][0], scene.end_pods()
    cpu_us = {name: value / STEPS for name, value in rate.cpu_us.items()}
    shares = ", ".join(f"{name} {value:.0f}" for name, value in cpu_us.items())
    figures.say(
        f"steps, {RUNS} runs of {STEPS} at the same time: {rate.per_s * STEPS:,.0f}/s, a run p50 {rate.p50_ms:.0f} ms; "
        f"µs of processor time a step: {shares}; {recorded / meter['batches']:.0f} in a commit, which took "
        f"{1000 * (meter['read_s'] + meter['turns_s'] + meter['write_s']) / meter['batches']:.1f} ms"
    )
    figures.add(durable_steps_per_s=rate.per_s * STEPS, **{f"step_{name}_us": value for name, value in cpu_us.items()})


def alone(stage: Stage, seconds: float, figures: Figures) -> None:
    """One run after the other: of ten steps, and of none."""
    with stage.scene() as scene:
        url = scene.system.nats_url
        ten = measure(scene, LOAD, url, KEYS, processes=1, in_flight=1, seconds=seconds, steps=10)
        none = measure(scene, LOAD, url, KEYS, processes=1, in_flight=1, seconds=seconds, steps=0)
    figures.say(describe("runs of ten steps", ten))
    figures.say(describe("runs of no step", none))
    figures.add(ten_step_run_p50_ms=ten.p50_ms, workflow_start_to_result_p50_ms=none.p50_ms)


def asleep(stage: Stage, runs: int, figures: Figures) -> None:
    """What runs that sleep take in their pod's memory, once they are suspended."""
    with stage.scene(suspend_after_s=SUSPEND_AFTER_S, idle_s=1.0) as scene:
        pod = scene.pods[0]
        uvloop.run(call_each(scene, [f"c{number}" for number in range(CACHED)]))
        sizes = []
        for wave in (0, runs, 2 * runs):
            uvloop.run(_submit(scene, "rest", [f"{wave}-{n}" for n in range(runs)], b'{"seconds":86400}'))
            _await(scene, ASLEEP, runs + wave)
            time.sleep(5.0)  # until their actors are passivated
            sizes.append(resident_bytes(pod.pid))
    # The first wave also takes, once and for all, what so many runs need that are not asleep yet.
    each = (sizes[2] - sizes[0]) / (2 * runs)
    figures.say(f"{runs} sleeping runs, and twice as many more: {each:,.0f} bytes each in their pod")
    figures.add(sleeping_workflows_bytes_each=each)


def recovery(stage: Stage, runs: int, figures: Figures) -> None:
    """From the SIGKILL of a pod to the last result of runs that were in flight on it, each within its second step."""
    with stage.scene() as scene:
        uvloop.run(_submit(scene, "linger", [f"k{number}" for number in range(runs)], b"{}"))
        _await(scene, RECORDED, runs)
        scene.start_pod()
        killed = scene.pods[0]
        begun = time.monotonic()
        scene.kill_pod(killed)
        _await(scene, ANSWERED, runs)
        took_s = time.monotonic() - begun
        steps = scene.system.sql(RECORDED)[0][0]
        if steps != 2 * runs:
            raise Miscounted(f"{runs} runs of two steps have {steps}: one ran again")
    figures.say(f"{runs} runs in flight when their pod was killed: done {took_s:.2f} s later")
    figures.add(recover_10k_runs_s=took_s)


def replaying(stage: Stage, steps: int, figures: Figures) -> None:
    """A run of many steps that begins anew behind the last: reading its journal, and its handler going through it."""

    async def measured(scene: Scene) -> float:
        async with await Client.connect(scene.system.nats_url) as client:
            return float(await client.ask("again", "a", "run", {"steps": steps}, timeout_s=LONGEST_S))

    with stage.scene() as scene:
        took_s = uvloop.run(measured(scene))
        recorded = scene.system.sql(RECORDED)[0][0]
        if recorded != steps:
            raise Miscounted(f"the log holds {recorded} steps instead of {steps}")
    figures.say(f"a journal of {steps} steps replayed in {took_s * 1000:.0f} ms")
    figures.add(replay_10k_step_journal_ms=took_s * 1000)


async def _submit(scene: Scene, kind: str, keys: list[str], body: bytes) -> None:
    async with await Client.connect(scene.system.nats_url) as client:
        waiting = iter(keys)

        async def caller() -> None:
            for key in waiting:
                await client.submit_body(kind, key, "run", body)

        await asyncio.gather(*[caller() for _ in range(IN_FLIGHT)])


def _await(scene: Scene, counting: str, wanted: int) -> None:
    end = time.monotonic() + LONGEST_S
    while (found := scene.system.sql(counting)[0][0]) != wanted:
        if time.monotonic() > end:
            raise Miscounted(f"{counting}: {found} instead of {wanted} within {LONGEST_S:g} s")
        time.sleep(LOOK_S)
