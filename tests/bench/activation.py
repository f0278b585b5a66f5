"""Actors that are not in memory: how fast they come into it, and what they take while they are."""

from __future__ import annotations

import asyncio
import time

import uvloop

from runtime.client import Client
from runtime.host.residence import EVERY_S
from tests.bench.figures import Figures
from tests.bench.load import BODY
from tests.bench.processor import resident_bytes
from tests.bench.stage import Miscounted, Scene, Stage

IN_FLIGHT = 512
WARM_KEYS = 2000


def cold(stage: Stage, actors: int, figures: Figures) -> None:
    """Each of many actors with one event in the log is called once by a pod that has none in memory."""
    with stage.scene() as scene:
        keys = [f"k{number}" for number in range(actors)]
        uvloop.run(call_each(scene, keys))
        scene.end_pods()
        scene.start_pod()
        scene.await_owners()
        uvloop.run(call_each(scene, [f"warm{number}" for number in range(WARM_KEYS)]))
        before = scene.counted()
        took_s = uvloop.run(call_each(scene, keys))
        scene.check_count(before, actors)
        found = scene.system.sql(
            "SELECT count(*) FROM (SELECT 1 FROM events e JOIN actors a USING (actor) WHERE a.key LIKE 'k%%' "
            "GROUP BY actor HAVING count(*) = 2 AND sum((payload->>'amount')::int) = 2) twice"
        )[0][0]
        if found != actors:
            raise Miscounted(f"{found} of {actors} actors have their two events")
    figures.say(f"cold activation: {actors} actors in {took_s:.2f} s, {actors / took_s:,.0f}/s")
    figures.add(cold_activations_per_s=actors / took_s)


def memory(stage: Stage, actors: int, figures: Figures) -> None:
    """What actors take in memory while they are idle, and what is left of it once they are passivated.

    The pod keeps at most `actors` of them, so that as many others again passivate the first ones. The second round also
    takes what is alive between two looks of the passivation, once and for all; what a third round adds is left behind.
    With fewer than some 65,000 actors that is also what the caches of addresses hold, which end there.
    """
    with stage.scene(max_activations=actors) as scene:
        pod = scene.pods[0]
        uvloop.run(call_each(scene, [f"warm{number}" for number in range(WARM_KEYS)]))
        sizes = [resident_bytes(pod.pid)]
        for name in "abc":
            uvloop.run(call_each(scene, [f"{name}{number}" for number in range(actors)]))
            time.sleep(2 * EVERY_S)  # passivation comes by once in so long
            sizes.append(resident_bytes(pod.pid))
        if scene.counted().answers != WARM_KEYS + 3 * actors:
            raise Miscounted(f"the log counted {scene.counted().answers} commands instead of {WARM_KEYS + 3 * actors}")
        gone = scene.end_pods()["passivated"]
        if gone < 2 * actors:
            raise Miscounted(f"{gone:.0f} actors were passivated instead of {2 * actors}: the figure is of idle ones")
    empty, full, again, last = sizes
    idle, passivated = (full - empty) / actors, max(0.0, (last - again) / actors)
    figures.say(
        f"memory of a pod: {empty / 2**20:.0f} MiB, with {actors} actors {full / 2**20:.0f} MiB, with those passivated "
        f"for as many others {again / 2**20:.0f} MiB, and once more {last / 2**20:.0f} MiB"
    )
    figures.add(idle_activation_bytes=idle, passivated_actor_bytes=passivated, pod_empty_mib=empty / 2**20)


async def call_each(scene: Scene, keys: list[str]) -> float:
    """Calls every key once; gives the seconds it took."""
    loop = asyncio.get_running_loop()
    async with await Client.connect(scene.system.nats_url) as client:
        waiting = iter(keys)
        begun = loop.time()

        async def caller() -> None:
            for key in waiting:
                reply = await client.call("counter", key, "add", BODY, timeout_s=120)
                if reply.error is not None:
                    raise Miscounted(f"{key} answered {reply.error}")

        await asyncio.gather(*[caller() for _ in range(IN_FLIGHT)])
        return loop.time() - begun
