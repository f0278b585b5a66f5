"""What the everyday measurements leave out, since it takes minutes: very long runs, and very many that sleep.

python -m tests.bench.far long [--steps 100000]     a run whose pod is killed at nine tenths of its steps
python -m tests.bench.far sleepers [--runs 100000]  runs that are due within one minute: how late each goes on
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from runtime.client import Client
from runtime.client.runs import Run
from runtime.infra import Infra
from tests.bench.processor import resident_bytes
from tests.bench.stage import Miscounted, Scene, Stage
from tests.bench.stepping import IN_FLIGHT, LOOK_S, RECORDED

MODULES = ("tests.bench.far_kinds",)
PARTITIONS = 32
LONGEST_S = 900.0
SPREAD_S = 60.0
OWNER = "SELECT owner FROM partitions WHERE lane = (SELECT lane FROM actors WHERE kind = 'lengthy')"
LATE = """
SELECT count(*), percentile_cont(ARRAY[0.5, 0.99, 1.0]) WITHIN GROUP (ORDER BY (payload->>'result')::float8)
FROM log WHERE type = 'troupe.ended'
"""


def long(stage: Stage, steps: int) -> str:
    """A run of so many steps; its pod is killed at nine tenths, and another one goes on."""
    with stage.scene(pods=2, modules=MODULES) as scene:
        idle = max(resident_bytes(pod.pid) for pod in scene.pods)
        begun = time.monotonic()
        uvloop.run(_submit(scene, "lengthy", [("l", b'{"steps":%d}' % steps)]))
        _await(scene, RECORDED, steps * 9 // 10)
        rate = scene.system.sql(RECORDED)[0][0] / (time.monotonic() - begun)
        owner = scene.system.sql(OWNER)[0][0]
        working, successor = sorted(scene.pods, key=lambda pod: pod.name != owner)
        held = resident_bytes(working.pid) - idle
        killed_at = time.monotonic()
        scene.kill_pod(working)
        before = scene.system.sql(RECORDED)[0][0]
        if before == steps:
            raise Miscounted("the run had ended before its pod was killed: give it more steps")
        _await(scene, RECORDED, before + 1)
        again_s = time.monotonic() - killed_at
        result = uvloop.run(_result(scene))
        after = resident_bytes(successor.pid) - idle
        warned = sum("let it go on by ctx.continue_as_new" in text for text in scene.logs())
        if result != sum(range(steps)) or scene.system.sql(RECORDED)[0][0] != steps:
            raise Miscounted(f"the run came to {result}, with {scene.system.sql(RECORDED)[0][0]} steps recorded")
    return (
        f"a run of {steps:,} steps: {rate:,.0f} steps/s; its pod held {held / 1e6:,.0f} MB more than idle, the next "
        f"one {after / 1e6:,.0f} MB; {again_s:.1f} s from the SIGKILL of its pod (a lease of 2 s included) to the next "
        f"step behind {before:,} recorded ones, none of which ran again; {warned} pods warned of its length"
    )


def sleepers(stage: Stage, runs: int) -> str:
    """So many runs that sleep, suspended, until times that are spread over one minute."""
    with stage.scene(modules=MODULES, suspend_after_s=0.5, idle_s=1.0) as scene:
        begun = time.monotonic()
        due = time.time() + 20.0 + runs / 1000.0
        spread = random.Random(runs)
        wanted = [(str(number), b'{"due":%f}' % (due + SPREAD_S * spread.random())) for number in range(runs)]
        uvloop.run(_submit(scene, "dozing", wanted))
        began_s = time.monotonic() - begun
        time.sleep(max(due - 10.0 - time.time(), 0.0))
        waiting = scene.system.sql("SELECT count(*) FROM pending WHERE state = 'waiting'")[0][0]
        early = due - time.time()
        _await(scene, "SELECT count(*) FROM inbox", runs)
        ((count, (median, p99, most)),) = scene.system.sql(LATE)
        if count != runs:
            raise Miscounted(f"{count} of {runs} runs ended")
    return (
        f"{runs:,} runs begun in {began_s:.0f} s ({waiting:,} asleep {early:.0f} s before the first was due), due "
        f"within {SPREAD_S:.0f} s: late by {median:.2f} s in the median, {p99:.2f} s p99, {most:.2f} s at most"
    )


async def _submit(scene: Scene, kind: str, wanted: list[tuple[str, bytes]]) -> None:
    async with await Client.connect(scene.system.nats_url) as client:
        waiting = iter(wanted)

        async def caller() -> None:
            for key, body in waiting:
                await client.submit_body(kind, key, "run", body, id=f"run-{key}")

        await asyncio.gather(*[caller() for _ in range(min(IN_FLIGHT, len(wanted)))])


async def _result(scene: Scene) -> int:
    async with await Client.connect(scene.system.nats_url) as client:
        return int(await Run(client, "lengthy", "l", "run-l").result(timeout_s=LONGEST_S))


def _await(scene: Scene, counting: str, wanted: int) -> None:
    end = time.monotonic() + LONGEST_S
    while scene.system.sql(counting)[0][0] < wanted:
        if time.monotonic() > end:
            raise Miscounted(f"{counting}: not {wanted} within {LONGEST_S:g} s")
        time.sleep(LOOK_S)


def main() -> int:
    """Measures what is asked for, and prints a line each."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.far", description=__doc__)
    parser.add_argument("what", nargs="+", choices=["long", "sleepers"])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Infra.start(Path(directory) / "servers") as infra:
        logs = Path(directory) / "logs"
        logs.mkdir()
        stage = Stage(infra, logs, PARTITIONS)
        for what in given.what:
            print(long(stage, given.steps) if what == "long" else sleepers(stage, given.runs), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
