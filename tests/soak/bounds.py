"""How much each series may grow in an hour, and why it may."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import NamedTuple


class Bound(NamedTuple):
    """`an_hour` is in the series' own unit, `share` of its level; the larger one counts. `why` says what is behind.

    `most` is what no sample may exceed.
    """

    pattern: str
    an_hour: float
    share: float
    why: str
    most: float = math.inf

    @property
    def judged(self) -> bool:
        """Whether there is a limit at all."""
        return self.an_hour < math.inf


def _grows(pattern: str, why: str) -> Bound:
    return Bound(pattern, math.inf, 0.0, why)


BOUNDS = (
    Bound("* memory MB", 30.0, 0.15, "allocators keep what they once had; a leak a command would be far more"),
    Bound("gateway open files", 6.0, 0.15, "without connections that a caller holds: what it leaves is closed"),
    Bound("* open files", 6.0, 0.15, "connections are made anew after faults, and closed"),
    Bound("* threads", 3.0, 0.15, "a thread is left behind only by a handler that never returns"),
    Bound("* tasks", 10.0, 0.15, "tasks end with what they wait for"),
    Bound("postgres processes", 6.0, 0.2, "one a connection"),
    Bound("postgres connections", 6.0, 0.2, "some seven a pod, made when they are needed"),
    Bound("nats-server connections", 6.0, 0.2, "one a process"),
    Bound("postgres WAL MB", 200.0, 0.3, "checkpoints take segments back, up to max_wal_size"),
    _grows("table events rows", "the log is kept for ever"),
    _grows("table events MB", "the log is kept for ever: see `bytes an event`"),
    Bound("bytes an event", 20.0, 0.1, "a row and its indexes have their size, however many there are"),
    _grows("table pods *", "a row for each start, forgotten after an hour: see `pods older than that`"),
    Bound("pods older than that", 0.5, 0.0, "housekeeping forgets them", most=0.0),
    _grows("stream EV *", "facts are kept for an hour: see `age of the oldest fact`"),
    Bound("age of the oldest fact min", 61.0, 0.0, "until the stream drops what is older than an hour", most=62.0),
    _grows("table actors *", "a row for each key that was ever used, and each run of a workflow has its own"),
    _grows("table snapshots *", "a row for each key that has a snapshot"),
    Bound("table inbox rows", 0.0, 0.25, "answers go when no repeat can ask for them"),
    Bound("table refused rows", 5.0, 0.25, "as the inbox"),
    Bound("table * rows", 200.0, 0.25, "rows go with the work that they stand for"),
    Bound("table * MB", 3.0, 0.3, "dead rows are vacuumed, and their space used again"),
    Bound("stream * messages", 500.0, 0.25, "trimmed behind the checkpoints"),
    Bound("stream * MB", 2.0, 0.25, "trimmed behind the checkpoints"),
    Bound("stream * consumers", 6.0, 0.25, "those of pods that died are forgotten when nobody uses them"),
)  # fmt: skip
"""The first pattern that fits a series' name counts."""


def bound_of(name: str) -> Bound:
    """The bound of a series. Raises KeyError for one that nobody has thought of."""
    for bound in BOUNDS:
        if fnmatchcase(name, bound.pattern):
            return bound
    raise KeyError(f"there is no bound for the series {name!r}: add one to tests/soak/bounds.py")
