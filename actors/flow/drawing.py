"""A definition as a picture: Mermaid text, and SVG without any other program.

Solid arrows are dependencies, a dashed one leads from a wait to what runs when its time is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from actors.flow.steps import TaskStep, WaitSignalStep, WaitTimerStep, WorkflowStep

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 190, 44, 30, 46, 20
ARROW_HEAD = (
    '<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>'
)
FILLS = {TaskStep: "#e8f1fb", WaitSignalStep: "#fdf3dc", WaitTimerStep: "#eef7e6"}


def mermaid(steps: Sequence[WorkflowStep]) -> str:
    """A Mermaid flowchart, top down."""
    ids = {step.name: f"s{number}" for number, step in enumerate(steps)}
    lines = ["flowchart TD"]
    for step in steps:
        text = "<br/>".join(_mermaid_text(line) for line in label(step))
        opening, closing = {TaskStep: ("[", "]"), WaitSignalStep: ("{{", "}}"), WaitTimerStep: ("([", "])")}[type(step)]
        lines.append(f'    {ids[step.name]}{opening}"{text}"{closing}')
    for step in steps:
        lines.extend(f"    {ids[name]} --> {ids[step.name]}" for name in step.dependencies)
        if isinstance(step, WaitSignalStep) and step.on_timeout is not None:
            lines.append(f"    {ids[step.name]} -. timeout .-> {ids[step.on_timeout]}")
    return "\n".join(lines) + "\n"


def svg(steps: Sequence[WorkflowStep]) -> str:
    """An SVG picture: each step in a row below all that it comes after."""
    places = _places(steps)
    width = 2 * MARGIN + max(x for x, _ in places.values()) + WIDTH
    height = 2 * MARGIN + max(y for _, y in places.values()) + HEIGHT
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        ARROW_HEAD,
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for step in steps:
        parts.extend(_arrow(places[name], places[step.name], dashed=False) for name in step.dependencies)
        if isinstance(step, WaitSignalStep) and step.on_timeout is not None:
            parts.append(_arrow(places[step.name], places[step.on_timeout], dashed=True))
    for step in steps:
        parts.extend(_box(step, *places[step.name]))
    return "\n".join([*parts, "</svg>"]) + "\n"


def label(step: WorkflowStep) -> list[str]:
    """What is written on a step: its name, and what it does."""
    if isinstance(step, TaskStep):
        return [step.name, f"{step.service_name}.{step.handler_name}" if step.service_name else step.handler_name]
    if isinstance(step, WaitSignalStep):
        limit = "" if step.timeout_ms is None else f", at most {_span(step.timeout_ms)}"
        return [step.name, f"signal {step.signal_name}{limit}"]
    if step.cron_expr is not None:
        return [step.name, f"at {step.cron_expr} {step.timezone}"]
    delay = _span(step.delay_ms or 0)
    return [step.name, f"up to {step.max_retries} retries, {delay}" if step.max_retries else f"wait {delay}"]


def _span(milliseconds: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"


def _mermaid_text(text: str) -> str:
    """Quotes and brackets as entities: any text may be a name."""
    return "".join(char if char.isalnum() or char in " _-.,:/*" else f"#{ord(char)};" for char in text)


def _places(steps: Sequence[WorkflowStep]) -> dict[str, tuple[int, int]]:
    """The upper left corner of each step's box."""
    rows: dict[str, int] = {}
    triggers = {
        step.on_timeout: step.name
        for step in steps
        if isinstance(step, WaitSignalStep) and step.on_timeout is not None
    }
    for step in steps:
        above = [*step.dependencies, *([triggers[step.name]] if step.name in triggers else [])]
        rows[step.name] = 1 + max((rows[name] for name in above), default=-1)
    places: dict[str, tuple[int, int]] = {}
    ordered = sorted(rows, key=lambda name: rows[name])
    grouped = [(row, list(names)) for row, names in groupby(ordered, key=lambda name: rows[name])]
    widest = max(len(names) for _, names in grouped)
    for row, names in grouped:
        left = (widest - len(names)) * (WIDTH + GAP_X) // 2
        for number, name in enumerate(names):
            places[name] = (MARGIN + left + number * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
    return places


def _arrow(start: tuple[int, int], end: tuple[int, int], *, dashed: bool) -> str:
    x1, y1 = start[0] + WIDTH // 2, start[1] + HEIGHT
    x2, y2 = end[0] + WIDTH // 2, end[1]
    bend = (y2 - y1) // 2
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    path = f"M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}"
    return f'<path d="{path}" fill="none" stroke="#555"{dashes} marker-end="url(#end)"/>'


def _box(step: WorkflowStep, x: int, y: int) -> list[str]:
    name, does = (escape(_short(line)) for line in label(step))
    return [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{FILLS[type(step)]}" stroke="#789"/>',
        f'<text x="{x + WIDTH // 2}" y="{y + 18}" text-anchor="middle" font-weight="bold">{name}</text>',
        f'<text x="{x + WIDTH // 2}" y="{y + 35}" text-anchor="middle" font-size="10" fill="#456">{does}</text>',
    ]


def _short(text: str, most: int = 30) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
