"""Schedules on the wire: what is to be started when, and what has come of it. Times are Unix seconds."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

KIND: Final = "schedule"
"""The kind of the actors that are schedules; the key is the schedule's name."""

MODULE: Final = "actors.schedules"
"""What a pod is given to serve them."""

Overlap = Literal["skip", "buffer", "allow", "cancel"]
"""What happens at a due time while a run of the schedule has not ended.

skip     it is passed over
buffer   it starts when that run has ended; of several only the first
allow    it starts beside it
cancel   that run is cancelled, and it starts when that has ended; of several only the last
"""


class Spec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is started: `method` of the actor `kind`/`key` with `args`; and when: by `cron` or every `every_s` seconds.

    In `key`, `{run}` stands for the run's id, which is the schedule's name and the due time; `{due}` for the due time
    (RFC 3339) and `{schedule}` for the name. A text `{due}` among the values of `args` is replaced as well.

    cron         five fields, or `@daily` and the like, in `timezone`
    every_s      at least 1; counted from `anchor`, by default `start_at` or the schedule's creation
    jitter_s     a firing is up to so much later, always the same for one due time, and never behind the next
    catch_up_s   what was due while nobody served the schedule is started if it is not older; at least 10
    start_at, end_at   nothing is due before and behind these
    """

    kind: str
    method: str = "run"
    key: str = "{run}"
    args: Any = None
    cron: str | None = None
    timezone: str = "UTC"
    every_s: float | None = None
    anchor: float | None = None
    jitter_s: float = 0.0
    overlap: Overlap = "skip"
    catch_up_s: float = 3600.0
    start_at: float | None = None
    end_at: float | None = None


class Firing(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run that was started: for which time, when, and what became of it if the schedule waits for that."""

    due: float
    at: float
    run: str
    key: str
    outcome: str = ""


class Backfill(msgspec.Struct, frozen=True, omit_defaults=True):
    """Due times of the past that are being started, one after the other or `allow`ed side by side; done up to `at`."""

    id: str
    at: float
    until: float
    overlap: Literal["wait", "allow"] = "wait"


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """A schedule: what it does, its next times (with their jitter), what runs and ran last, and how much there was."""

    name: str
    spec: Spec
    paused: bool
    note: str
    next: list[float]
    running: list[Firing]
    recent: list[Firing]
    fired: int
    skipped: int
    failed: int
    buffered: float | None = None
    backfills: list[Backfill] = []
