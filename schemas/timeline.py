"""Runs as they are listed and described (docs/adr/0019): what the services `runs` and `run` answer with."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

LIVE: Final = ("queued", "running", "suspended", "backoff")
ENDED: Final = ("completed", "rejected", "failed", "parked", "cancelled", "terminated", "timed_out")
STATUSES: Final = (*LIVE, *ENDED)

State = Literal[
    "queued",
    "running",
    "suspended",
    "backoff",
    "completed",
    "rejected",
    "failed",
    "parked",
    "cancelled",
    "terminated",
    "timed_out",
]


class ListedRun(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A run. Times are RFC 3339.

    queued       its command is in the log and waits for its turn
    running      its handler runs
    suspended    its handler waits, and is not in memory
    backoff      an attempt failed, and the next one is to come (`due_at`)
    completed    it has a result
    rejected     its handler refused
    failed       it was never run to an end: refused before, or dropped from the dead letters
    parked       it failed for good and waits for a person: `retry` it, or drop its dead letter
    cancelled    it was told to end, and did
    terminated   it was ended without its handler
    timed_out    it waited or ran for longer than was wanted
    """

    run_id: str
    kind: str
    key: str
    method: str
    id: str
    status: State
    attempts: int
    since: str
    tags: list[str] = []
    due_at: str | None = None
    expires_at: str | None = None
    ended_at: str | None = None
    code: str | None = None
    error: str | None = None


class RunPage(msgspec.Struct):
    """Runs, the latest first. `cursor` asks for the next page; None: there are no more."""

    runs: list[ListedRun]
    cursor: str | None


class Moment(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One moment of a run.

    `what` is step, signal, update, answer, cancel, attempt (one that failed), terminate, parked, replayed, dropped, or
    forked: what follows that was copied from the run that its value names.
    A step has its number in the run, from 1, for `fork` and `restart`; `took_ms` is how long its function took.
    """

    seq: int
    at: str
    what: str
    name: str = ""
    number: int = 0
    attempt: int = 0
    took_ms: int = 0
    by: str = ""
    value: Any = None
    error: str | None = None


class Holder(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What holds an actor's key: the oldest of its pending commands that hold it."""

    id: str
    method: str
    status: str
    since: str
    attempts: int = 0
    error: str | None = None
    due_at: str | None = None


class RunDescription(ListedRun, omit_defaults=True, kw_only=True):
    """A run with what is known of it. `arguments` is missing when they are large, or no JSON.

    held_by: what the run waits for, when it is queued; `ahead` are the commands before it.
    steps: how many it has completed so far, waits among them.
    paused: why its actor is paused, if it is.
    dead_letter: the number of its dead letter, while it is parked.
    more: the timeline goes on behind the last one's seq.
    """

    arguments: Any = None
    has_arguments: bool = False
    content_type: str | None = None
    held_by: Holder | None = None
    ahead: int = 0
    steps: int = 0
    paused: str | None = None
    dead_letter: int | None = None
    timeline: list[Moment] = []
    more: bool = False
