"""docs/scale.md and its pictures, from the pieces that were kept: tables, laws, and the paper behind them."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill

from tests.scale import results
from tests.scale.axes import AXES, Axis, Figure
from tests.scale.laws import Law, fit
from tests.scale.paper import Measured, paragraphs
from tests.scale.plot import svg
from tests.scale.results import Piece
from tests.soak.plot import number

HEAD = """\
# Scale

Written by `make scale`; do not edit. How cost grows along each axis, measured on real servers on one small machine,
with the law that fits it and what follows for sizes that do not fit here. CPU is processor time divided by commands,
under 64 commands in flight; one in flight gives the latency. Measurements on a machine that also does other things
scatter by a quarter, and less than that is taken for no growth.

"""
PAPER = "\n## Where the walls stand\n\n"


def write(kept: Path, docs: Path) -> Path:
    """Writes the report of every axis that has pieces; gives its path."""
    pictures = docs / "scale"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    measured: Measured = {}
    lines: list[str] = []
    for axis in AXES:
        pieces = results.load(kept, axis.name)
        if pieces:
            measured[axis.name] = {
                figure.name: _law(pieces, figure) for figure in axis.figures if any(_points(pieces, figure.name))
            }
            lines += _section(axis, pieces, measured[axis.name], pictures)
    report = docs / "scale.md"
    text = HEAD + "\n".join(lines) + PAPER + "\n\n".join(fill(text, 120) for text in paragraphs(measured))
    report.write_text(text.rstrip() + "\n")
    return report


def _section(axis: Axis, pieces: list[Piece], laws: dict[str, Law], pictures: Path) -> list[str]:
    told = sorted({f"{piece.machine}, {piece.at[:10]}" for piece in pieces})
    shown = [figure for figure in axis.figures if figure.name in laws]
    lines = [f"## {axis.title}", "", fill(f"{axis.how} ({'; '.join(told)}.)", 120), ""]
    sizes = " | ".join(f"{piece.size:,}" for piece in pieces)
    lines += [f"| | {sizes} | law |", "|---|" + "--:|" * len(pieces) + "---|"]
    for figure in shown:
        cells = [
            number(piece.figures[figure.name] * figure.factor) if figure.name in piece.figures else ""
            for piece in pieces
        ]
        law = laws[figure.name].words(figure.unit) if figure.law and len(pieces) > 2 else ""
        unit = f", {figure.unit}" if figure.unit else ""
        lines.append(f"| {figure.label}{unit} | {' | '.join(cells)} | {law} |")
    lines.append("")
    labels = {figure.name: figure for figure in shown}
    for place, (title, names) in enumerate(axis.pictures, 1):
        drawn = {labels[name].label: _shown(pieces, labels[name]) for name in names if name in labels}
        if drawn and len(pieces) > 1:
            name = f"{axis.name}-{place}.svg"
            (pictures / name).write_text(svg(f"{title} over {axis.size}", drawn))
            lines.append(f"![{title}](scale/{name})")
    return [*lines, ""]


def _points(pieces: list[Piece], name: str) -> list[tuple[float, float]]:
    return [(float(piece.size), piece.figures[name]) for piece in pieces if name in piece.figures]


def _shown(pieces: list[Piece], figure: Figure) -> list[tuple[float, float]]:
    return [(size, value * figure.factor) for size, value in _points(pieces, figure.name)]


def _law(pieces: list[Piece], figure: Figure) -> Law:
    points = _shown(pieces, figure)
    # What is not to follow a law counts as it was at the largest size.
    return fit(points, figure.floor) if figure.law else Law("constant", points[-1][1], 0.0)
