"""The figures of a run: flat names to numbers, and what to say beside them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping


class Figures:
    """Collects figures, over one run of the measurements or several; `all` has the medians.

    Args:
        say: prints a line while the benchmark runs.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._found: dict[str, list[float]] = defaultdict(list)

    def add(self, **figures: float) -> None:
        """Notes figures. The unit is the end of the name."""
        for name, value in figures.items():
            self._found[name].append(value)

    def meter(self, prefix: str, counted: Mapping[str, float]) -> None:
        """Notes where a pod's batches spent their time; see runtime.host.meter."""
        batches = counted["batches"] or 1
        self.add(**{
            f"{prefix}_batch_commands": counted["commands"] / batches,
            f"{prefix}_batch_read_ms": counted["read_s"] / batches * 1000,
            f"{prefix}_batch_turns_ms": counted["turns_s"] / batches * 1000,
            f"{prefix}_batch_write_ms": counted["write_s"] / batches * 1000,
        })  # fmt: skip

    @property
    def all(self) -> dict[str, float]:
        """Every figure by name, the median of its runs, rounded to what is meaningful."""
        return {name: _rounded(statistics.median(values)) for name, values in self._found.items()}


def _rounded(value: float) -> float:
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
