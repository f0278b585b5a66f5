"""What a run left in Postgres, read once it is over."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any, NamedTuple

from tests.support.system import System


class Event(NamedTuple):
    """One event of the log. `at` is Unix seconds of its transaction's begin."""

    key: str
    seq: int
    lane: int
    position: int
    epoch: int
    command_id: str
    causation_id: str | None
    amount: int
    at: float


@dataclasses.dataclass(slots=True)
class Log:
    """The tables of a run.

    Attributes:
        events: by key, in the order of their sequence.
        inbox: (key, command id) → (seq, failed, result as JSON).
        left: what should be gone: (key or lane, what it is).
        snapshots: key → (seq, value).
    """

    events: dict[str, list[Event]]
    inbox: dict[tuple[str, str], tuple[int, bool, str]]
    left: list[tuple[str, str]]
    snapshots: dict[str, tuple[int, int]]

    @property
    def size(self) -> int:
        """How many events there are."""
        return sum(map(len, self.events.values()))

    def first_commits(self) -> dict[int, list[tuple[int, float]]]:
        """lane → (epoch, when its first event was committed), by epoch."""
        first: dict[tuple[int, int], float] = {}
        for events in self.events.values():
            for event in events:
                place = (event.lane, event.epoch)
                first[place] = min(event.at, first.get(place, event.at))
        found: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for (lane, epoch), at in sorted(first.items()):
            found[lane].append((epoch, at))
        return found


_EVENTS = """
SELECT a.key, e.seq, e.lane, e.position, e.epoch, e.command_id, e.causation_id,
       coalesce((e.payload->>'amount')::int, 0), extract(epoch FROM e.at)::float8
FROM events e JOIN actors a USING (actor) ORDER BY a.key, e.seq
"""
_INBOX = "SELECT a.key, i.command_id, i.seq, i.failed, i.result FROM inbox i LEFT JOIN actors a USING (actor)"
_LEFT = """
SELECT key, 'pending ' || state || ' ' || command_id || ' attempts ' || attempts || coalesce(' ' || error, '')
FROM pending
UNION ALL SELECT 'lane ' || lane, 'outbox ' || ord || ' ' || message_id || ' to ' || subject FROM outbox
UNION ALL SELECT key, 'timer ' || name || ' due at ' || due_at FROM timers
UNION ALL SELECT key, 'dead letter ' || command_id || ' ' || code || ': ' || error FROM dead_letters
UNION ALL SELECT actor::text, 'paused: ' || reason FROM paused
"""
_SNAPSHOTS = "SELECT a.key, s.seq, (s.state::json->>'value')::int FROM snapshots s JOIN actors a USING (actor)"


def read_log(system: System) -> Log:
    """Everything the run left."""
    events: dict[str, list[Event]] = defaultdict(list)
    for row in system.sql(_EVENTS):
        events[row[0]].append(Event(*row))
    inbox = {(row[0], row[1]): (row[2], row[3], row[4]) for row in system.sql(_INBOX)}
    return Log(events, inbox, left(system), {row[0]: (row[1], row[2]) for row in system.sql(_SNAPSHOTS)})


def left(system: System) -> list[tuple[str, str]]:
    """Work that is not done: pending commands, unsent messages, timers, dead letters, pauses."""
    return [(row[0], row[1]) for row in system.sql(_LEFT)]


def journal(system: System, key: str, around: str, rows: int = 12) -> list[str]:
    """What the log holds of one actor, around a command of it if there are many rows."""
    out = []
    for title, statement in _JOURNAL.items():
        found: list[Any] = system.sql(statement, key)
        place = next((n for n, row in enumerate(found) if around in map(str, row)), len(found))
        shown = found[max(0, place - rows) : place + rows]
        out.append(f"  {title}: {len(found)} rows{', some of them' if len(shown) < len(found) else ''}")
        out += [f"    {' '.join(map(str, row))}" for row in shown]
    return out


_JOURNAL = {
    "events (seq, lane:position, epoch, command, causation, payload, at)": """
        SELECT e.seq, e.lane || ':' || e.position, e.epoch, e.command_id, e.causation_id, e.payload::text, e.at
        FROM events e JOIN actors a USING (actor) WHERE a.key = %s ORDER BY e.seq""",
    "inbox (seq, command, failed, result, at)": """
        SELECT i.seq, i.command_id, i.failed, i.result, i.at
        FROM inbox i JOIN actors a USING (actor) WHERE a.key = %s ORDER BY i.at, i.seq""",
    "pending (ord, command, state, attempts, due, error)": """
        SELECT ord, command_id, state, attempts, due_at, error FROM pending WHERE key = %s ORDER BY ord""",
    "timers (name, due, fire id)": "SELECT name, due_at, fire_id FROM timers WHERE key = %s",
    "dead letters (command, code, error)": "SELECT command_id, code, error FROM dead_letters WHERE key = %s",
    "snapshot (seq, state)": "SELECT s.seq, s.state FROM snapshots s JOIN actors a USING (actor) WHERE a.key = %s",
    "lane (lane, owner, epoch, checkpoint, position)": """
        SELECT p.lane, p.owner, p.epoch, p.checkpoint, p.position
        FROM partitions p JOIN actors a USING (lane) WHERE a.key = %s""",
}
