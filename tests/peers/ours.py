"""The engine itself, with everything on: pods as processes, servers embedded, callers over NATS."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from tests.bench.rate import measure
from tests.bench.stage import Stage
from tests.peers.peer import Axes, Ground
from tests.peers.work import WORKS, Outcome, Setting

LOAD = "tests.bench.load"
NOTES = "tests.peers.notes"
_SATURATED: Axes = {"partitions": (8, 2, 32), "in_flight": (2048, 1024, 4096), "pods": (2, 1), "processes": (2, 1)}
_HOT: Axes = {"in_flight": (1024, 512, 2048), "partitions": (8,), "pods": (1,), "processes": (1, 2)}


class Ours:
    """Pods with everything on: leases, fencing, inbox, outbox, checked arguments, metrics."""

    name = "ours"
    title = "Troupe"
    how = (
        "A command is a message from a client over NATS: checked, decided, its event and its answer committed under "
        "the fence, and then answered."
    )
    durability = "answered after the commit; fsync and synchronous_commit on"
    works: Mapping[str, Axes] = {
        "keyed": _SATURATED,
        "alone": {"partitions": (8, 32), "in_flight": (1,), "pods": (1,), "processes": (1,)},
        "hot": _HOT,
        "checkpoints": {"partitions": (8,), "in_flight": (1024, 2048), "pods": (2,), "processes": (2,)},
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
                NOTES if work == "checkpoints" else LOAD,
                scene.system.nats_url,
                WORKS[work].keys,
                processes=int(setting["processes"]),
                in_flight=int(setting["in_flight"]),
                seconds=seconds,
            )
            return Outcome(rate.per_s, rate.p50_ms, rate.p99_ms, scene.counted().answers, _callers(rate.cpu_us))


def _callers(cpu_us: dict[str, float]) -> dict[str, float]:
    return {"callers" if name == "clients" else name: value for name, value in cpu_us.items()}
