"""The engine itself, with everything on: pods as processes, servers embedded, callers over NATS."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from tests.bench.rate import measure
from tests.bench.stage import Stage
from tests.peers.peer import Axes, Ground
from tests.peers.work import WORKS, Outcome, Setting, by_step

LOAD = "tests.bench.load"
LOADS = {"checkpoints": "tests.peers.notes", "steps": "tests.bench.runs", "run": "tests.bench.runs"}
_SATURATED: Axes = {"partitions": (8, 2, 32), "in_flight": (2048, 1024, 4096), "pods": (2, 1), "processes": (2, 1)}
_HOT: Axes = {"in_flight": (1024, 512, 2048), "partitions": (8,), "pods": (1,), "processes": (1, 2)}


class Ours:
    """Pods with everything on: leases, fencing, inbox, outbox, checked arguments, metrics."""

    name = "ours"
    title = "Troupe"
    how = (
        "A command is a message from a client over NATS: checked, decided, its event and its answer committed under "
        "the fence, and then answered. A run is a workflow under an id of its own, each of whose steps is committed "
        "before the next one begins."
    )
    durability = "answered after the commit; fsync and synchronous_commit on"
    works: Mapping[str, Axes] = {
        "keyed": _SATURATED,
        "alone": {"partitions": (8, 32), "in_flight": (1,), "pods": (1,), "processes": (1,)},
        "hot": _HOT,
        "checkpoints": {"partitions": (8,), "in_flight": (1024, 2048), "pods": (2,), "processes": (2,)},
        "steps": {"partitions": (8, 32), "in_flight": (256, 512, 1024), "pods": (2, 1), "processes": (1,)},
        "run": {"partitions": (8, 32), "in_flight": (1,), "pods": (1,), "processes": (1,)},
    }

    def prepare(self, ground: Ground) -> dict[str, str]:
        """See Peer."""
        return {name: importlib.metadata.version(name) for name in ("nats-py", "psycopg", "msgspec")}

    def measure(self, ground: Ground, work: str, setting: Setting, seconds: float) -> Outcome:
        """See Peer. Each addition is one event and one recorded answer in the log, or Miscounted is raised."""
        stage = Stage(ground.infra, ground.room(self.name), int(setting["partitions"]))
        with stage.scene(pods=int(setting["pods"])) as scene:
            rate = measure(
                scene,
                LOADS.get(work, LOAD),
                scene.system.nats_url,
                WORKS[work].keys,
                processes=int(setting["processes"]),
                in_flight=int(setting["in_flight"]),
                seconds=seconds,
                steps=WORKS[work].steps if WORKS[work].steps > 1 else None,
            )
            answers = scene.counted().answers
        found = Outcome(rate.per_s, rate.p50_ms, rate.p99_ms, answers, _callers(rate.cpu_us))
        return by_step(WORKS[work], found)


def _callers(cpu_us: dict[str, float]) -> dict[str, float]:
    return {"callers" if name == "clients" else name: value for name, value in cpu_us.items()}
