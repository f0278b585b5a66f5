"""Take-over: from the SIGKILL of a pod to the first answer of each of its lanes, at default settings."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict

import uvloop

from runtime.client import Client
from schemas.address import partition_of
from tests.bench.figures import Figures
from tests.bench.load import BODY
from tests.bench.stage import Miscounted, Scene, Stage

PODS = 3
LONGEST_S = 30.0


def takeover(stage: Stage, rounds: int, figures: Figures) -> None:
    """One caller a lane, one in flight; each round a pod is killed and another started."""
    with stage.scene(pods=PODS) as scene:
        times: list[float] = []
        for _ in range(rounds):
            times += uvloop.run(_round(scene))
            scene.start_pod()
            scene.await_owners()
    median_s, longest_s = statistics.median(times), max(times)
    figures.say(f"take-over of {len(times)} lanes: median {median_s:.2f} s, max {longest_s:.2f} s")
    figures.add(takeover_s=longest_s, takeover_p50_s=median_s)


async def _round(scene: Scene) -> list[float]:
    """Kills one pod under load; gives the seconds to the first answer of each lane it owned."""
    keys = _a_key_a_lane(scene.system.partitions)
    answers: dict[int, list[tuple[float, int]]] = defaultdict(list)
    done = False

    async def caller(lane: int, key: str) -> None:
        while not done:
            reply = await client.call("counter", key, "add", BODY, timeout_s=LONGEST_S)
            answers[lane].append((time.monotonic(), reply.seq))

    async with await Client.connect(scene.system.nats_url) as client:
        callers = [asyncio.ensure_future(caller(lane, key)) for lane, key in keys.items()]
        await asyncio.sleep(1.0)
        victim = scene.pods[0]
        rows = scene.system.sql("SELECT lane, epoch FROM partitions WHERE owner = %s", victim.name)
        killed_at = time.monotonic()
        scene.kill_pod(victim)
        await asyncio.sleep(5.0)
        done = True
        await asyncio.gather(*callers)
    return [_first_answer(scene, lane, epoch, keys[lane], answers[lane]) - killed_at for lane, epoch in rows]


def _first_answer(scene: Scene, lane: int, epoch: int, key: str, answers: list[tuple[float, int]]) -> float:
    """When the first answer came whose event the lane's next owner committed."""
    found = scene.system.sql(
        "SELECT min(seq) FROM events e JOIN actors a USING (actor) WHERE a.key = %s AND e.epoch > %s", key, epoch
    )[0][0]
    for answered_at, seq in answers:
        if found is not None and seq >= found:
            return answered_at
    raise Miscounted(f"lane {lane} was not taken over within the round")


def _a_key_a_lane(partitions: int) -> dict[int, str]:
    keys: dict[int, str] = {}
    number = 0
    while len(keys) < partitions:
        number += 1
        keys.setdefault(partition_of("default", "counter", f"k{number}", partitions), f"k{number}")
    return keys
