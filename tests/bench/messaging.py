"""Commands through NATS: saturated, one in flight, one hot key."""

from __future__ import annotations

from tests.bench.figures import Figures
from tests.bench.rate import Rate, measure
from tests.bench.stage import Stage

LOAD = "tests.bench.load"
KEYS = [f"k{number}" for number in range(1000)]
IN_FLIGHT = (256, 512, 1024, 2048)
HOT_IN_FLIGHT = 512
PROCESSES = 2
PODS = 2
"""As many as a machine has cores, if it is as small as two: a pod runs Python in one thread at a time."""


def saturated(stage: Stage, seconds: float, figures: Figures) -> None:
    """1000 keys, two pods, two processes of callers: the rate at the number in flight that gives most."""
    with stage.scene(pods=PODS) as scene:
        url = scene.system.nats_url
        rates = [
            measure(scene, LOAD, url, KEYS, processes=PROCESSES, in_flight=in_flight, seconds=seconds)
            for in_flight in IN_FLIGHT
        ]
        meter = scene.end_pods()
    best = max(rates, key=lambda rate: rate.per_s)
    with stage.scene() as scene:
        url, in_flight = scene.system.nats_url, best.in_flight
        alone = measure(scene, LOAD, url, KEYS, processes=PROCESSES, in_flight=in_flight, seconds=seconds)
    for rate in rates:
        figures.say(describe("NATS", rate))
    figures.say(describe("NATS, one pod", alone))
    figures.add(
        nats_commands_per_s=best.per_s,
        nats_in_flight=best.in_flight,
        nats_one_pod_commands_per_s=alone.per_s,
        nats_p50_ms=best.p50_ms,
        nats_p99_ms=best.p99_ms,
        **{f"nats_{name}_us": value for name, value in best.cpu_us.items()},
    )
    figures.meter("nats", meter)


def one_in_flight(stage: Stage, seconds: float, figures: Figures) -> None:
    """One caller that waits for each answer."""
    with stage.scene() as scene:
        rate = measure(scene, LOAD, scene.system.nats_url, KEYS, processes=1, in_flight=1, seconds=seconds)
        meter = scene.end_pods()
    figures.say(describe("NATS", rate))
    figures.add(nats_one_in_flight_p50_ms=rate.p50_ms, nats_one_in_flight_p99_ms=rate.p99_ms)
    figures.meter("nats_one_in_flight", meter)


def hot_key(stage: Stage, seconds: float, figures: Figures) -> None:
    """Every command to one actor."""
    with stage.scene() as scene:
        url = scene.system.nats_url
        rate = measure(scene, LOAD, url, ["hot"], processes=1, in_flight=HOT_IN_FLIGHT, seconds=seconds)
        meter = scene.end_pods()
    figures.say(describe("one hot key", rate))
    figures.add(hot_key_commands_per_s=rate.per_s, hot_key_p50_ms=rate.p50_ms)
    figures.meter("hot_key", meter)


def describe(what: str, rate: Rate) -> str:
    """A rate in one line."""
    cpu = ", ".join(f"{name} {value:.0f}" for name, value in rate.cpu_us.items())
    return (
        f"{what}, {rate.in_flight} in flight: {rate.per_s:,.0f}/s, p50 {rate.p50_ms:.2f} ms, p99 {rate.p99_ms:.2f} ms, "
        f"max {rate.max_ms:.0f} ms; µs of processor time a command: {cpu}"
    )
