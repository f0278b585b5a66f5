"""What the verdict is made of, and the verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from tests.chaos.allowances import Allowances
from tests.chaos.log import Log
from tests.chaos.record import Look, Record, Seen

Finding = tuple[str, str]
"""(actor or session, what is wrong with it)."""


class Mark(NamedTuple):
    """A line that a step left outside: `ran` when its function ran, `had` when its handler had its result.

    Beside them are lines without a step: `backup` when a backup was complete, `restored` when it was in place.
    """

    what: Literal["ran", "had", "backup", "restored"]
    command: str
    """`<tenant>/<command id>`."""
    step: str
    pid: int


@dataclasses.dataclass(slots=True)
class Evidence:
    """Everything that is known of a run.

    Attributes:
        stored: actor → command id → its first sequence in CMD.
        last_looks: what the counters said of themselves at the end, by actor: each was asked of the pod that had it.
        owners: the processes that had counters then, by the log.
        looks_of_one: what one pod says of all of them that has just taken every lane, and so reads them from the log;
            None where nobody asked.
        facts: session → its facts as stream EV holds them at the end.
        outside: what steps did outside, in order.
        pids_frozen: processes that were frozen: what one did between two instructions cannot be fenced.
        allowed: what the faults of the run allow.
    """

    log: Log
    record: Record
    stored: Mapping[str, Mapping[str, int]]
    last_looks: Mapping[str, Look]
    facts: Mapping[str, Sequence[Seen]]
    outside: Sequence[Mark]
    pids_frozen: Collection[int] = ()
    allowed: Allowances = dataclasses.field(default_factory=Allowances)
    owners: Collection[int] = ()
    looks_of_one: Mapping[str, Look] | None = None

    def may_be_missing(self, actor: str, id: str | None = None) -> bool:
        """Whether a power cut took this command, or any to this actor, from the broker."""
        address = actor.replace("/", ".")
        return any(place == address and id in (None, command) for place, command in self.allowed.may_be_missing)


@dataclasses.dataclass(slots=True)
class Verdict:
    """What is wrong, by the four words of the last line. All empty: the run held.

    `excused` are acknowledgements by the broker alone that a power cut made void.
    """

    lost: list[Finding] = dataclasses.field(default_factory=list)
    duplicated: list[Finding] = dataclasses.field(default_factory=list)
    reordered: list[Finding] = dataclasses.field(default_factory=list)
    stuck: list[Finding] = dataclasses.field(default_factory=list)
    acknowledged: int = 0
    excused: int = 0

    @classmethod
    def of(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """Several runs' together."""
        whole = cls()
        for verdict in verdicts:
            for word, findings in verdict.findings.items():
                whole.findings[word] += findings
            whole.acknowledged += verdict.acknowledged
            whole.excused += verdict.excused
        return whole

    @property
    def findings(self) -> dict[str, list[Finding]]:
        """The findings by their word."""
        return {
            "lost": self.lost, "duplicated": self.duplicated, "reordered": self.reordered, "stuck": self.stuck
        }  # fmt: skip

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.findings.values())
