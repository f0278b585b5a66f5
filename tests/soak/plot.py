"""One series as a small SVG: a line, its second half's trend, and what would be too much."""

from __future__ import annotations

from html import escape

from tests.soak.verdict import Judged, Series

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 420, 150, 58, 24, 22


def svg(judged: Judged, series: Series) -> str:
    """The picture. The dashed line is the steepest growth that is allowed, from the middle of the run on."""
    last = series[-1][0] or 1.0
    middle = last / 2
    late = [value for at, value in series if at >= middle] or [series[-1][1]]
    level = sorted(late)[len(late) // 2]
    limit = [(middle, level), (last, level + judged.allowed * (last - middle) / 60)]
    top = max(max(value for _, value in (*series, *limit)) * 1.1, 1e-9)

    def points(line: Series) -> str:
        return " ".join(f"{_x(at, last):.1f},{_y(value, top):.1f}" for at, value in line)

    colour = {True: "#2a7", False: "#c33", None: "#888"}[judged.bounded]
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="10">',
        f'<rect {size} fill="white"/>',
        f'<text x="{LEFT}" y="15" font-size="12">{escape(judged.name)}</text>',
        *_axis(top, last),
        f'<polyline fill="none" stroke="#bbb" stroke-dasharray="4 3" points="{points(limit)}"/>',
        f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points(series)}"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(at: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - 10) * at / last


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _axis(top: float, last: float) -> list[str]:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = _y(top * share, top)
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 10}" y2="{y:.1f}" stroke="#eee"/>')
        lines.append(f'<text x="{LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{number(top * share)}</text>')
    lines.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">0</text>')
    lines.append(f'<text x="{WIDTH - 10}" y="{HEIGHT - 6}" text-anchor="end">{last:.0f} min</text>')
    return lines


def number(value: float) -> str:
    """A value in few characters."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
