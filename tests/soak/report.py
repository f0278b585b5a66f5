"""docs/soak.md and its pictures: written by the command, never by hand."""

from __future__ import annotations

import datetime
import platform
import re
from pathlib import Path

import psutil

from runtime.version import VERSION
from tests.soak.plot import number, svg
from tests.soak.run import Outcome
from tests.soak.verdict import Judged

WORDS = {True: "bounded", False: "**grows**", None: "too few samples"}
HEAD = """\
# Soak

Written by `make soak MINUTES={minutes:g}`; do not edit. The command measures anew and ends with 1 when a series grows.

{paragraph}

A series is bounded when its growth over the second half of the run (the median of the slopes between all pairs of
samples), extrapolated to an hour, stays within its allowance (an amount or a share of its level, whichever is more:
`tests/soak/bounds.py`), or is a saw's chance (by the test of Mann and Kendall, one in a hundred), or it never comes
higher than in the first half. Of processes, `elder pod` is one that no fault hits, so that it lives through the run; of
other pods and gateways the largest value counts, of Postgres the sum over its processes.

"""


def write(outcome: Outcome, docs: Path) -> Path:
    """Writes the report and its pictures under `docs`; gives the report's path."""
    pictures = docs / "soak"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    for one in outcome.judged:
        (pictures / f"{_slug(one.name)}.svg").write_text(svg(one, outcome.series[one.name]))
    report = docs / "soak.md"
    report.write_text("\n".join(_lines(outcome)).rstrip() + "\n")
    return report


def _lines(outcome: Outcome) -> list[str]:
    lines = [HEAD.format(minutes=outcome.settings.minutes, paragraph=_paragraph(outcome))]
    lines += [f"    {outcome.line}", ""]
    lines += [f"TROUBLE: {text}\n" for text in outcome.trouble]
    lines += [
        "| series | first | last | highest | growth an hour | allowed | | why it may |",
        "|---|--:|--:|--:|--:|--:|---|---|",
        *[_row(one) for one in outcome.judged],
        "",
        "Not judged, since they grow by design:",
        "",
    ]
    judged = {one.name for one in outcome.judged}
    for name in sorted(set(outcome.series) - judged):
        values = [value for _, value in outcome.series[name]]
        lines.append(f"- {name}: from {number(values[0])} to {number(values[-1])}")
    lines += ["", "## Pictures", "", "The dashed line is the steepest growth that is allowed.", ""]
    lines += [f"![{one.name}](soak/{_slug(one.name)}.svg)" for one in outcome.judged]
    return lines


def _paragraph(outcome: Outcome) -> str:
    settings = outcome.settings
    began = datetime.datetime.fromtimestamp(outcome.began, datetime.UTC)
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.faults.items())) or "none"
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Begun {began:%Y-%m-%d %H:%M} UTC on Troupe {VERSION}, Python {platform.python_version()}, "
        f"{psutil.cpu_count()} cores, {memory:.0f} GB: {settings.minutes:g} minutes at {settings.rate:g} commands a "
        f"second over {settings.keys} keys, {settings.pods} pods and an elder, a sample every {settings.every_s:g} s, "
        f"seed {settings.seed}. {outcome.acknowledged:,} commands were acknowledged, {outcome.visits:,} visits of the "
        f"gateway answered. Faults: {faults}."
    )


def _row(one: Judged) -> str:
    values = (one.first, one.last, one.highest, one.growth, one.allowed)
    cells = " | ".join(number(value) for value in values)
    return f"| {one.name} | {cells} | {WORDS[one.bounded]} | {one.bound.why} |"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
