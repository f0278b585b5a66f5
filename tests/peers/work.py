"""The works that are compared, and what one measurement of one gives."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

Setting = dict[str, int | str]
"""What a peer can be run with, by name: processes, callers in flight, the size of a pool, …"""

KEYS = [f"k{number}" for number in range(1000)]
TEXT = "x" * 256
"""What a checkpoint holds beside its number: the same bytes are in our event."""


class Work(NamedTuple):
    """One kind of work; `higher` says which of its two figures is compared, commands a second or else the latency.

    Where a call is a run of several `steps`, rates and processor time are of steps, and latencies of whole runs.
    """

    name: str
    title: str
    keys: list[str]
    higher: bool
    steps: int = 1


WORKS = {
    work.name: work
    for work in (
        Work("keyed", "a keyed counter, 1000 keys, saturated", KEYS, True),
        Work("alone", "the same, one command in flight", KEYS, False),
        Work("hot", "one hot key", ["hot"], True),
        Work("checkpoints", "a state of 256 bytes kept at each step, 1000 threads", KEYS, True),
        Work("steps", "durable steps, of many runs of ten at the same time", KEYS, True, 10),
        Work("run", "a run of ten durable steps, alone", KEYS, False, 10),
    )
}


class Outcome(Struct, frozen=True):
    """One measurement. Times of callers in milliseconds; `counted` is what the peer's own store counted of it.

    `cpu_us` is processor time a command in microseconds, by who used it.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    counted: int
    cpu_us: dict[str, float] = field(default_factory=dict)

    def merit(self, work: Work) -> float:
        """The larger the better."""
        return self.per_s if work.higher else -self.p50_ms


def by_step(work: Work, outcome: Outcome) -> Outcome:
    """What was measured of runs, said of their steps."""
    cpu_us = {name: value / work.steps for name, value in outcome.cpu_us.items()}
    counted = outcome.counted * work.steps
    return replace(outcome, per_s=outcome.per_s * work.steps, counted=counted, cpu_us=cpu_us)
