"""Named values of one moment, whoever wants to hear them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple


class Buckets(NamedTuple):
    """Counts of values by upper bound, the last one without a bound, and the sum of the values."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


class Measure(NamedTuple):
    """One value. `name` has its unit last; a counter's name ends in `_total`. Those of one name come together."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    value: float | Buckets
    labels: tuple[tuple[str, str], ...] = ()
    """Its own, beside those of the process."""
