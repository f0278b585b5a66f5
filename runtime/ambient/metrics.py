"""Metrics of handlers: `ctx.metrics.count("orders", region="eu")`, `ctx.metrics.record("basket_items", 3)`.

What a handler counts belongs to what is committed: with its turn's commit, or with the next entry of its journal. So an
attempt that is done again counts nothing twice, and one that comes to nothing counts nothing. (What a dying process had
committed and not yet counted is lost.) Pods hand them out with their own (runtime.telemetry).
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from runtime.ambient.secrets import guard
from runtime.errors import BadResult

if TYPE_CHECKING:
    from runtime.turn import Turn

BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 10_000.0)
MOST_SERIES = 1000
"""Of one process; more (a label with an order's number, say) are not kept."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")

Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One value of one series."""

    name: str
    labels: Labels
    value: float
    counts: bool


class Series:
    """What is known of a name with its labels."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.counts: list[int] | None = None


class Registry:
    """All series of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[tuple[str, Labels], Series] = {}

    def add(self, samples: list[Sample]) -> None:
        """Counts them. May be called from any thread."""
        with self._lock:
            for sample in samples:
                place = (sample.name, sample.labels)
                series = self._series.get(place)
                if series is None:
                    if len(self._series) >= MOST_SERIES:
                        continue
                    series = self._series[place] = Series()
                series.total += sample.value
                if not sample.counts:
                    series.counts = series.counts or [0] * (len(BOUNDS) + 1)
                    series.counts[bisect_left(BOUNDS, sample.value)] += 1

    def all(self) -> list[tuple[str, Labels, float, tuple[int, ...] | None]]:
        """(name, labels, total, how many values by upper bound for what was recorded), by name."""
        with self._lock:
            found = [
                (name, labels, one.total, None if one.counts is None else tuple(one.counts))
                for (name, labels), one in self._series.items()
            ]
        return sorted(found)


registry = Registry()


class Metrics:
    """What one turn counts."""

    __slots__ = ("_turn", "samples")

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.samples: list[Sample] = []

    def count(self, name: str, by: float = 1, /, **labels: str) -> None:
        """Adds to a counter, shown as `troupe_app_<name>_total`."""
        if not by >= 0:
            raise BadResult(f"metric {name!r}: a counter only grows, by a number of at least 0, not {by!r}")
        self._add(name, by, labels, counts=True)

    def record(self, name: str, value: float, /, **labels: str) -> None:
        """Adds a value to a distribution, shown as the histogram `troupe_app_<name>`."""
        self._add(name, value, labels, counts=False)

    def _add(self, name: str, value: float, labels: dict[str, str], *, counts: bool) -> None:
        if not all(_NAME.match(word) for word in (name, *labels)):
            raise BadResult(f"metric {name!r}: names and labels are small letters, digits and _, at most 64")
        if self._turn.replaying:
            return
        told = tuple(sorted((label, guard.redacted(str(text))[:200]) for label, text in labels.items()))
        self.samples.append(Sample(name, told, float(value), counts))

    def commit(self) -> None:
        """Counts what was added, since what it belongs to is committed."""
        samples, self.samples = self.samples, []
        if samples:
            registry.add(samples)
