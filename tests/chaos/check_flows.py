"""Workflows by the log: each run begins and ends once, takes each step once, hears what it was told, and so its child.

What its steps did outside is compared in check_steps.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.flows import FLOWS
from tests.chaos.log import Event
from tests.chaos.outside import HAND
from tests.chaos.record import Entry, Outcome
from tests.chaos.rewritten import Rewritten

STARTED, ENDED, STEP = "troupe.started", "troupe.ended", "troupe.step"
TOLD = {"done": "troupe.signal", "cancelled": "troupe.cancel", "terminated": "troupe.terminate"}
CONTINUED = "$continued"
"""The entry behind which requests are numbered anew."""

STEPS = {
    "trip": ["before", "left", "right", "after"], "leg": ["leg-before"], "handed": ["before", HAND, "after"]
}  # fmt: skip
"""The steps of runs that are done; a `chain` has one a round."""

MOST = {"recalled": ["before", "undo"], "endless": ["before"], "leg": ["leg-before", "leg-undo"]}
"""The steps of runs that do not come so far."""

Own = Mapping[tuple[str, str], Sequence[Event]]


def is_flow(entry: Entry) -> bool:
    """Whether it is about a workflow's run."""
    return entry.actor.split("/")[1] in FLOWS


def family(followed: Iterable[Event], own: Own) -> list[Event]:
    """What a run has caused, with all that its children were told: that has causes of its own."""
    runs = dict.fromkeys((event.actor, event.command_id) for event in followed)
    return [event for run in runs for event in own.get(run, ())]


def strays(evidence: Evidence) -> set[str]:
    """Children that nobody tells to end: a log that is gone had their parent start them.

    By the log that was put back the parent was cancelled before it began, so that it never knew of them.
    """
    if not evidence.allowed.restored:
        return set()
    rewritten = Rewritten(evidence)
    return {
        child_of(entry)
        for entry in evidence.record.entries
        if is_flow(entry) and entry.outcome == "cancelled" and rewritten.ran_again(entry)
        if not any(event.type == STEP for event in evidence.log.events.get(entry.actor, ()))
    }


def child_of(entry: Entry) -> str:
    """The actor of a run's child."""
    tenant, _, key = entry.actor.split("/")
    return f"{tenant}/leg/{key}-leg"


def check_refused(entry: Entry, rewritten: Rewritten, verdict: Verdict) -> None:
    """What was said to a run that was over: a log that was put back may know it as running."""
    if entry.outcome == "stuck":
        verdict.stuck.append((entry.actor, f"command {entry.id} {entry.method}: {entry.outcome}: {entry.error}"))
    elif not entry.error.startswith("not_running") and not rewritten.ran_again(entry):
        found = f"run {entry.actor} was over, and command {entry.id} to it was {entry.outcome} {entry.error}"
        verdict.duplicated.append((entry.actor, found))


def check_joined(entry: Entry, mine: Sequence[Event], verdict: Verdict) -> None:
    """A second start, whatever came of it: it has no run of its own."""
    if mine:
        verdict.duplicated.append((entry.actor, f"command {entry.id} joined a run, and has events of its own"))


def check_run(
    evidence: Evidence,
    entry: Entry,
    rewritten: Rewritten,
    mine: Sequence[Event],
    followed: Sequence[Event],
    astray: Collection[str],
    verdict: Verdict,
) -> None:
    """The events of a run, and of what it had others do, but for children that are `astray`."""
    again = rewritten.ran_again(entry)
    kind, done = entry.actor.split("/")[1], entry.outcome == "done"
    _check_run(entry.actor, kind, entry.id, mine, verdict, entry.outcome)
    what = TOLD.get(entry.outcome)
    said = sum(event.type == what for event in mine)
    expected = entry.amount if kind == "chain" else 1
    most = expected * (1 + len(evidence.allowed.restored)) if again else expected
    if what is not None and not expected <= said <= most:
        found = f"run {entry.id} was told {said} times by {what}, and {expected} is right"
        (verdict.duplicated if said > expected else verdict.lost).append((entry.actor, found))
    children: dict[str, list[Event]] = defaultdict(list)
    added = [event for event in followed if event.actor == entry.target]
    for event in followed:
        if event.actor != entry.target:
            children[event.actor].append(event)
    if [event.amount for event in added] != ([entry.amount] if kind == "trip" and done else []):
        found = f"run {entry.id} asked a counter for {entry.amount}, and it counted {[event.amount for event in added]}"
        (verdict.duplicated if len(added) > 1 else verdict.lost).append((entry.actor, found))
    if kind == "trip" and not children:
        verdict.lost.append((entry.actor, f"run {entry.id} is done, and its child never ran"))
    for actor, events in children.items():
        if actor != child_of(entry):
            verdict.duplicated.append((entry.actor, f"run {entry.id} caused events of {actor}"))
        if actor not in astray:
            _check_run(actor, "leg", entry.id, events, verdict, entry.outcome)


def _check_run(actor: str, kind: str, of: str, events: Sequence[Event], verdict: Verdict, outcome: Outcome) -> None:
    """One run's own journal, and the steps that it is to have."""
    steps, generation = check_journal(actor, of, events, verdict)
    done = outcome == "done"
    expected = [f"round-{n}" for n in range(generation + 1)] if kind == "chain" else STEPS.get(kind, [])
    if done and Counter(steps) != Counter(expected):
        few = set(expected) - set(steps)
        (verdict.lost if few else verdict.duplicated).append((actor, f"run {of} is done, and took the steps {steps}"))
    if not done and (Counter(steps) - Counter(MOST.get(kind, []))):
        verdict.duplicated.append((actor, f"run {of} did not come to its end, and took the steps {steps}"))


def check_journal(actor: str, of: str, events: Sequence[Event], verdict: Verdict) -> tuple[list[str], int]:
    """One run's own journal: the names of its steps, and how often it continued as new."""
    types = Counter(event.type for event in events)
    for type in (STARTED, ENDED):
        if types[type] != 1:
            found = f"run {of} has {types[type]} events {type}"
            (verdict.duplicated if types[type] else verdict.lost).append((actor, found))
    if ENDED in [event.type for event in events[:-1]]:
        verdict.duplicated.append((actor, f"run {of} has events behind its end"))
    numbers: Counter[tuple[int, int]] = Counter()
    steps: list[str] = []
    generation = 0
    for event in events:
        if event.type != STEP or event.step is None:
            continue
        if event.step == CONTINUED:
            generation += 1
        elif event.number:
            numbers[generation, event.number] += 1
        if not event.step.startswith("$"):
            steps.append(event.step)
    for (_, number), count in numbers.items():
        if count > 1:
            verdict.duplicated.append((actor, f"run {of} has {count} entries for its request {number}"))
    return steps, generation
