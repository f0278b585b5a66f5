"""What was found: kept as JSON beside what was installed, so that a run of some peers adds to what others gave."""

from __future__ import annotations

import statistics
from pathlib import Path

import msgspec
from msgspec import Struct, field

from tests.peers.sweep import Sweep
from tests.peers.work import WORKS, Outcome, Setting


class Side(Struct):
    """One system in one comparison: under which setting, and what each round gave."""

    setting: Setting
    runs: list[Outcome]

    @property
    def per_s(self) -> float:
        """The median of the rounds."""
        return statistics.median(run.per_s for run in self.runs)

    @property
    def p50_ms(self) -> float:
        """The median of the rounds."""
        return statistics.median(run.p50_ms for run in self.runs)


class Comparison(Struct):
    """A work done by the engine and by a peer, in turn, in one run. `at` is the run's day and time, UTC."""

    peer: str
    work: str
    ours: Side
    theirs: Side
    seconds: float
    at: str

    @property
    def ratio(self) -> float:
        """Ours over theirs: of throughput, or of latency where that is compared."""
        if WORKS[self.work].higher:
            return self.ours.per_s / self.theirs.per_s
        return self.ours.p50_ms / self.theirs.p50_ms


class About(Struct):
    """A system as it ran. `left_out` says why there is nothing of it."""

    title: str
    how: str
    durability: str
    versions: dict[str, str] = field(default_factory=dict)
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    left_out: str = ""


class Results(Struct):
    """All of it; `comparisons` by `<peer>.<work>`."""

    conditions: list[str] = field(default_factory=list)
    about: dict[str, About] = field(default_factory=dict)
    comparisons: dict[str, Comparison] = field(default_factory=dict)


def read(path: Path) -> Results:
    """What is kept, or nothing."""
    return msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else Results()


def write(path: Path, results: Results) -> None:
    """Keeps it."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
