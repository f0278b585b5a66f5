"""Known bugs, planted on purpose: a chaos that does not catch them shows nothing.

Each module changes the engine of the pod that loads it, and defines the actors under load as kinds.py does, so
`--planted NAME` makes it what pods serve. The engine itself has no switch for any of this.

`python -m tests.chaos.planted` hunts for them all (make chaos-planted), tests/chaos/test_planted.py for some of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tests.chaos.evidence import Verdict
from tests.chaos.settings import ChaosSettings


@dataclasses.dataclass(frozen=True)
class Bug:
    """A planted bug, and the run that brings it out.

    Attributes:
        faults: the faults that matter.
        words: under which of the verdict's words it may be found.
        says: what a finding of it says, behind the actor's name and a colon.
        rate: of the load, in commands a second.
        programs: of the load: those whose commands no other rule of the engine protects from this bug.
        looks: how often the load looks at a state that it was just told of.
        seconds: how long the load runs.
        sessions: how many keys a tenant have a session that is read.
    """

    name: str
    faults: tuple[str, ...]
    words: tuple[str, ...]
    says: str
    rate: float = 600.0
    programs: str = ""
    looks: float = ChaosSettings.looks
    seconds: float = 12.0
    sessions: int = 0

    @property
    def module(self) -> str:
        """What pods load instead of kinds.py."""
        return f"{__name__}.{self.name}"

    def caught(self, verdict: Verdict) -> str | None:
        """A finding that tells of this bug, and not of anything else; None when there is none."""
        findings = [finding for word in self.words for finding in verdict.findings[word]]
        return next((text for who, what in findings if self.says in (text := f"{who}: {what}")), None)


def _of_agents(name: str, word: str, says: str, sessions: int = 0) -> Bug:
    """One that conversations show; their runs are long enough for a fault to fall into each."""
    return Bug(name, ("kill",), (word,), says, rate=30.0, programs="a", seconds=8.0, sessions=sessions)


def _of_workflows(name: str, word: str, says: str) -> Bug:
    """One that shows in every run of a kind, whatever else breaks."""
    return Bug(name, ("kill",), (word,), says, rate=30.0, programs="f", seconds=6.0)


BUGS: Sequence[Bug] = (
    # A pod that is frozen in a transaction has no connection when it wakes, and reads everything anew: few are to be.
    # So does one that writes a row which another pod has written, of an execution or of a message on its way: only
    # additions are asked for.
    Bug("skip_epoch", ("stop",), ("reordered",), "epoch", rate=120.0, programs="sr"),
    Bug("reply_before_commit", ("postgres", "kill"), ("lost", "reordered"), "was answered", programs="sr", looks=0.5),
    # What a caller waits for it asks again, and so makes good: what is lost is what only the broker was told.
    Bug("checkpoint_before_commit", ("kill",), ("lost",), "should have counted", programs="p", rate=80.0),
    Bug("forget_inbox", ("nats",), ("duplicated",), "should have counted"),
    Bug("forget_entry", ("kill",), ("duplicated",), "ran again", rate=30.0, programs="f"),
    _of_workflows("forget_child", "stuck", "-leg: pending waiting"),
    _of_workflows("forget_signals", "stuck", "/chain/"),
    _of_workflows("skip_undo", "lost", "is not undone"),
    _of_workflows("hear_too_late", "duplicated", "was over, and command"),
    _of_workflows("start_twice", "duplicated", "joined a run"),
    _of_workflows("unsaid_start", "stuck", "/chain/"),
    _of_agents("forget_thought", "duplicated", "step model-"),
    _of_agents("untold_end", "stuck", "the session is at work on"),
    _of_agents("same_attempt", "duplicated", "shows value", sessions=9),
    Bug("answer_of_before", ("kill",), ("reordered",), "asked again was answered", 300.0, programs="d", seconds=6.0),
)


def settings_for(bug: Bug, seed: int, seconds: float = 0.0) -> ChaosSettings:
    """A short run that is to bring the bug out, of so many seconds instead of its own."""
    return ChaosSettings(
        seconds=seconds or bug.seconds, seed=seed, faults=bug.faults, fault_every_s=1.2, keys=30, rate=bug.rate,
        partitions=8, gateways=0, sessions=bug.sessions, promotions=0, settle_s=15.0, patience_s=3.0,
        programs=bug.programs, looks=bug.looks,
    )  # fmt: skip
