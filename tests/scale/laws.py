"""How a figure grows with a size: constant, logarithmic or linear, by least squares; the simplest that explains it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

Form = Literal["constant", "logarithmic", "linear"]

NOISE = 0.25
"""Two measurements of the same on a busy machine differ by so much: less than that is no growth."""

BETTER = 0.8
"""A straight line is believed instead of a logarithm when its residuals are smaller than this share of the other's."""


class Law(NamedTuple):
    """figure = base + slope · f(size), where f is 0, the decimal logarithm, or the size itself."""

    form: Form
    base: float
    slope: float

    def at(self, size: float) -> float:
        """What it says for a size."""
        return self.base + self.slope * _FUNCTIONS[self.form](size)

    def words(self, unit: str) -> str:
        """The law as a reader would say it."""
        if self.form == "constant":
            return f"constant, {_short(self.base)} {unit}"
        per = "a factor of ten" if self.form == "logarithmic" else "one more"
        return f"{self.form}, {_short(self.base)} {unit} and {_short(self.slope)} {unit} for {per}"


_FUNCTIONS: dict[Form, Callable[[float], float]] = {
    "constant": lambda size: 0.0,
    "logarithmic": lambda size: math.log10(max(size, 1.0)),
    "linear": lambda size: size,
}


def fit(points: Sequence[tuple[float, float]], floor: float = 0.0) -> Law:
    """The law of some (size, figure); constant when they are fewer than three, or differ by no more than `floor`."""
    values = [value for _, value in points]
    constant = Law("constant", statistics.median(values), 0.0)
    rising = max(values) - min(values) > max(floor, NOISE * abs(statistics.median(values)))
    if len(points) < 3 or not rising:
        return constant
    logarithmic, linear = _line(points, "logarithmic"), _line(points, "linear")
    best = linear if _residual(points, linear) < BETTER * _residual(points, logarithmic) else logarithmic
    return best if _residual(points, best) < _residual(points, constant) / 2 else constant


def _line(points: Sequence[tuple[float, float]], form: Form) -> Law:
    found = statistics.linear_regression([_FUNCTIONS[form](size) for size, _ in points], [y for _, y in points])
    return Law(form, found.intercept, found.slope)


def _residual(points: Sequence[tuple[float, float]], law: Law) -> float:
    return sum((value - law.at(size)) ** 2 for size, value in points)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
