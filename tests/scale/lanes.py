"""The axes of partitions, of pods and of tenants: the same load on systems that differ in that alone."""

from __future__ import annotations

import time

from tests.bench.rate import WARM_UP_S
from tests.bench.stage import Stage
from tests.scale.cost import cost, idle

KEYS = [f"k{number}" for number in range(1000)]
CLIENT_S = 0.001
"""So long a client for one more tenant may take to open."""


def partitions(stage: Stage, size: int, seconds: float) -> dict[str, float]:
    """One pod that owns so many lanes, each with a cursor of its own."""
    begun = time.monotonic()
    with stage.scene(partitions=size) as scene:
        figures = {"taken_s": time.monotonic() - begun}
        figures |= cost(scene, KEYS, seconds) | idle(scene, seconds)
        return figures | {f"{name}_mib": value / 2**20 for name, value in scene.resident_bytes().items()}


def pods(stage: Stage, size: int, seconds: float) -> dict[str, float]:
    """So many pods that share the lanes of one machine."""
    with stage.scene(pods=size) as scene:
        figures = cost(scene, KEYS, seconds) | idle(scene, seconds)
        connections = scene.system.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return figures | {"connections": connections[0][0] / size}


def tenants(stage: Stage, size: int, seconds: float) -> dict[str, float]:
    """The same number of keys, of so many tenants."""
    with stage.scene() as scene:
        warm_up_s = WARM_UP_S + size * CLIENT_S
        return cost(scene, [f"{size}/{max(size, len(KEYS))}"], seconds, "tests.scale.tenant_load", warm_up_s)
