"""Figures over sizes as a small SVG: a line each, sizes on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from tests.soak.plot import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, number

COLOURS = ("#27a", "#c52", "#2a7", "#849")
RIGHT = 130

Points = Sequence[tuple[float, float]]


def svg(title: str, lines: Mapping[str, Points]) -> str:
    """The picture of some lines of (size, value), by label."""
    sizes = sorted({size for points in lines.values() for size, _ in points})
    top = max((value for points in lines.values() for _, value in points), default=1.0) * 1.1 or 1.0
    size = f'width="{WIDTH + RIGHT}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="10">',
        f'<rect {size} fill="white"/>',
        f'<text x="{LEFT}" y="15" font-size="12">{escape(title)}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = _y(top * share, top)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 10}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{number(top * share)}</text>')
    for one in sizes:
        parts.append(f'<text x="{_x(one, sizes):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{one:,.0f}</text>')
    for place, (label, points) in enumerate(lines.items()):
        colour = COLOURS[place % len(COLOURS)]
        drawn = " ".join(f"{_x(at, sizes):.1f},{_y(value, top):.1f}" for at, value in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{drawn}"/>')
        parts.append(f'<text x="{WIDTH}" y="{TOP + 12 + 14 * place}" fill="{colour}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(size: float, sizes: Sequence[float]) -> float:
    low, high = math.log10(sizes[0]), math.log10(sizes[-1])
    share = (math.log10(size) - low) / (high - low) if high > low else 0.5
    return LEFT + 20 + (WIDTH - LEFT - 50) * share


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top
