"""What a command costs in a scene: processor time by process, and how long one in flight takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tests.bench.rate import WARM_UP_S, measure
from tests.bench.stage import Scene

LOAD = "tests.bench.load"
IN_FLIGHT = 64
PROCESSES = ("pod", "nats", "postgres", "clients")


def cost(
    scene: Scene, keys: Sequence[str], seconds: float, load: str = LOAD, warm_up_s: float = WARM_UP_S
) -> dict[str, float]:
    """Figures of two loads of `seconds` seconds each, both checked against the log: many in flight, and one."""
    url = scene.system.nats_url
    events, written = scene.counted().answers, _wal(scene)
    common: dict[str, Any] = {"processes": 1, "seconds": seconds, "warm_up_s": warm_up_s}
    busy = measure(scene, load, url, keys, in_flight=IN_FLIGHT, **common)
    wal = (_wal(scene) - written) / (scene.counted().answers - events)
    alone = measure(scene, load, url, keys, in_flight=1, **common)
    used = {f"{name}_us": busy.cpu_us[name] for name in PROCESSES}
    return used | {"p50_ms": alone.p50_ms, "per_s": busy.per_s, "wal_bytes": wal}


def _wal(scene: Scene) -> int:
    """Bytes of WAL that Postgres has written so far."""
    return int(scene.system.sql("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0])


def idle(scene: Scene, seconds: float) -> dict[str, float]:
    """What share of a core each process takes while nothing happens."""
    early = scene.cpu_s()
    time.sleep(seconds)
    return {f"idle_{name}_share": (value - early[name]) / seconds for name, value in scene.cpu_s().items()}
