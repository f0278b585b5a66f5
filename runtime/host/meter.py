"""What a pod counts while it works. Plain numbers: exporters read them, the hot path only adds."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from typing import Any

BATCH_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """Counts of values by upper bound, with their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclasses.dataclass(slots=True)
class Meter:
    """A pod's counters since its start.

    `read_s`, `turns_s` and `write_s` are the seconds that batches waited for the log's look-ups, spent in handlers
    (while most look-ups go on), and in the log's writes.
    """

    batches: int = 0
    commands: int = 0
    turns: int = 0
    repeated: int = 0
    parked: int = 0
    fenced: int = 0
    slow_handlers: int = 0
    log_losses: int = 0
    replies: int = 0
    read_s: float = 0.0
    turns_s: float = 0.0
    write_s: float = 0.0
    batch_seconds: Histogram = dataclasses.field(default_factory=lambda: Histogram(BATCH_SECONDS))
    batch_sizes: Histogram = dataclasses.field(default_factory=lambda: Histogram(BATCH_SIZES))

    def batch(self, items: int, read_s: float, turns_s: float, write_s: float) -> None:
        """Counts one committed batch."""
        self.batches += 1
        self.read_s += read_s
        self.turns_s += turns_s
        self.write_s += write_s
        self.batch_sizes.add(items)
        self.batch_seconds.add(read_s + turns_s + write_s)

    def as_dict(self) -> dict[str, Any]:
        """Every counter by name; a histogram is its counts by upper bound, the last one without a bound."""
        found: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Histogram):
                value = dict(zip([*map(str, value.bounds), "more"], value.counts, strict=True))
            found[field.name] = value
        return found
