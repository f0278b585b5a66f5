"""`POST /intent` that waits for the result, through one gateway process: one in flight, and saturated."""

from __future__ import annotations

from tests.bench.figures import Figures
from tests.bench.messaging import KEYS, describe
from tests.bench.rate import Rate, measure
from tests.bench.stage import Scene, Stage

LOAD = "tests.bench.intents"
IN_FLIGHT = (32, 64, 128, 256)


def intents(stage: Stage, seconds: float, figures: Figures) -> None:
    """1000 keys, one pod, one gateway, one process of callers with a connection each."""
    with stage.scene(gateway=True) as scene:
        one = _measure(scene, 1, seconds)
        rates = [_measure(scene, in_flight, seconds) for in_flight in IN_FLIGHT]
    for rate in (one, *rates):
        figures.say(describe("HTTP", rate))
    best = max(rates, key=lambda rate: rate.per_s)
    figures.add(
        http_intents_per_s=best.per_s,
        http_in_flight=best.in_flight,
        http_p50_ms=best.p50_ms,
        http_p99_ms=best.p99_ms,
        http_one_in_flight_p50_ms=one.p50_ms,
        http_one_in_flight_p99_ms=one.p99_ms,
        **{f"http_{name}_us": value for name, value in best.cpu_us.items()},
    )


def _measure(scene: Scene, in_flight: int, seconds: float) -> Rate:
    return measure(scene, LOAD, scene.gateway_url, KEYS, processes=1, in_flight=in_flight, seconds=seconds)
