"""What steps did outside: none ran again once its handler had its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.chaos.check_flows import STEPS as FLOW_STEPS
from tests.chaos.check_flows import child_of, is_flow, strays
from tests.chaos.evidence import Evidence, Mark, Verdict
from tests.chaos.record import Entry

STEPS = ("before", "after")
"""Of an errand that is done."""

UNDONE = {"before": "undo", "leg-before": "leg-undo"}
"""What undoes a step of one that is cancelled."""

KEPT = ("done", "terminated", "timed_out")
"""Outcomes of what undoes nothing."""


def check(evidence: Evidence, verdict: Verdict) -> None:
    """Each errand's steps ran, and ran no more once they were completed; one that was cancelled has undone them."""
    ran: Counter[tuple[str, str]] = Counter()
    had: set[tuple[str, str]] = set()
    behind: set[tuple[str, str]] = set()
    """What was completed since the last backup, and is forgotten when that is put in place."""
    for mark in evidence.outside:
        place = (mark.command, mark.step)
        if mark.what == "backup":
            behind = set()
            continue
        if mark.what == "restored":
            had -= behind
            continue
        if mark.what == "had":
            if not ran[place]:
                verdict.lost.append((mark.command, f"step {mark.step} gave a result, and never ran"))
            had.add(place)
            behind.add(place)
            continue
        if place in had and mark.pid not in evidence.pids_frozen:
            verdict.duplicated.append((mark.command, f"step {mark.step} ran again in process {mark.pid}"))
        ran[place] += 1
    astray = strays(evidence)
    for entry in evidence.record.entries:
        command = f"{entry.actor.split('/')[0]}/{entry.id}"
        wanted = STEPS if entry.outcome == "done" and entry.method in ("run", "wait") else ()
        for step in _of_flow(entry) if is_flow(entry) else wanted:
            if not ran[command, step]:
                verdict.lost.append((entry.actor, f"{entry.id} is done, and its step {step} never ran"))
        for step, undo in UNDONE.items() if child_of(entry) not in astray else ():
            if entry.outcome == "cancelled" and (command, step) in had and not ran[command, undo]:
                verdict.lost.append((entry.actor, f"{entry.id} was cancelled, and its step {step} is not undone"))
            if entry.outcome in KEPT and ran[command, undo]:
                verdict.duplicated.append((entry.actor, f"{entry.id} is {entry.outcome}, and its {undo} ran"))


def _of_flow(entry: Entry) -> list[str]:
    """The steps of a workflow's run that is done, and of its child."""
    if entry.outcome != "done" or entry.method != "run":
        return []
    kind = entry.actor.split("/")[1]
    if kind == "chain":
        return [f"round-{n}" for n in range(entry.amount)]
    return [*FLOW_STEPS[kind], *(FLOW_STEPS["leg"] if kind == "trip" else [])]


def read_outside(path: Path) -> list[Mark]:
    """The lines that steps left."""
    return list(_marks(path.read_text().splitlines())) if path.exists() else []


def _marks(lines: Iterable[str]) -> Iterable[Mark]:
    for line in lines:
        what, command, step, pid = line.split()
        assert what in ("ran", "had", "backup", "restored"), line
        yield Mark(what, command, step, int(pid))  # type: ignore[arg-type]  # asserted
