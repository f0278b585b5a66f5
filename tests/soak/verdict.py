"""Whether a series is bounded: its growth, extrapolated to an hour, against what it is allowed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.soak.bounds import Bound, bound_of

Series = Sequence[tuple[float, float]]
"""(minutes since the load began, value), in time."""

SURE = 2.326
"""Standard normal deviates beyond which a trend is not chance: one case in a hundred."""

LEAST_SAMPLES = 6
"""In the half that is judged; with fewer, nothing can be said."""


class Judged(NamedTuple):
    """What was found of one series.

    `growth` is its unit an hour by the second half of the run, `allowed` how much that may be; `bounded` is None when
    there are too few samples to tell.
    """

    name: str
    bound: Bound
    first: float
    last: float
    highest: float
    growth: float
    allowed: float
    bounded: bool | None


def slope(series: Series) -> float:
    """Units a minute: the median of the slopes between all pairs of samples (Theil 1950, Sen 1968).

    A few samples that stick out, as after a server's restart, do not move it.
    """
    slopes = [
        (later - earlier) / (then - now)
        for number, (now, earlier) in enumerate(series)
        for then, later in series[number + 1 :]
        if then > now
    ]
    return statistics.median(slopes) if slopes else 0.0


def trend(series: Series) -> float:
    """How sure it is that a series rises, in standard normal deviates (Mann 1945, Kendall 1975)."""
    values = [value for _, value in series]
    count = len(values)
    if count < 2:
        return 0.0
    rises = sum(
        (later > earlier) - (later < earlier) for number, earlier in enumerate(values) for later in values[number + 1 :]
    )
    return (rises - (rises > 0)) / math.sqrt(count * (count - 1) * (2 * count + 5) / 18)


def judge(name: str, series: Series) -> Judged:
    """The verdict on one series. What grows while everything starts is not held against it: its second half counts.

    It is not bounded when it grows more than it may, that is no chance of a saw's teeth, and it comes higher than it
    ever was in the first half.
    """
    bound = bound_of(name)
    values = [value for _, value in series]
    middle = (series[0][0] + series[-1][0]) / 2
    late = [(at, value) for at, value in series if at >= middle]
    growth = slope(late) * 60
    allowed = max(bound.an_hour, bound.share * statistics.median(value for _, value in late))
    enough = len(late) >= LEAST_SAMPLES
    before = max((value for at, value in series if at < middle), default=-math.inf)
    grows = growth > allowed and trend(late) >= SURE and max(value for _, value in late) > before
    bounded = not grows if enough else None
    if max(values) > bound.most:
        bounded = False
    return Judged(name, bound, values[0], values[-1], max(values), growth, allowed, bounded)


def judge_all(series: Mapping[str, Series]) -> list[Judged]:
    """The verdicts on all series that are judged, in order of name."""
    return [judge(name, series[name]) for name in sorted(series) if bound_of(name).judged]
