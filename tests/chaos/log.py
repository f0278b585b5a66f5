"""What a run left in Postgres, read once it is over. Actors are named `<tenant>/<kind>/<key>`."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from schemas.address import actor_id
from tests.chaos.calls import address_of
from tests.support.system import System


class Event(NamedTuple):
    """One event of the log.

    `at` is Unix seconds of its transaction's begin. `early_s` says by how many seconds a timer fired before it was due,
    by the log's clock; None for other events. `step` and `number` are those of an entry of a journal, else None.
    """

    actor: str
    seq: int
    lane: int
    position: int
    epoch: int
    type: str
    command_id: str
    causation_id: str | None
    session: str | None
    code_version: str
    amount: int
    early_s: float | None
    at: float
    step: str | None = None
    number: int | None = None


@dataclasses.dataclass(slots=True)
class Log:
    """The tables of a run.

    Attributes:
        events: by actor, in the order of their sequence.
        inbox: (actor, command id) → (seq, failed, result as JSON).
        left: what should be gone: (actor or lane, what it is).
        snapshots: actor → (seq, value).
        payloads: (actor, seq) → the event as JSON, of sessions and of what agents' models said.
    """

    events: dict[str, list[Event]]
    inbox: dict[tuple[str, str], tuple[int, bool, str]]
    left: list[tuple[str, str]]
    snapshots: dict[str, tuple[int, int]]
    payloads: dict[tuple[str, int], str] = dataclasses.field(default_factory=dict)

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


_NAME = "concat_ws('/', a.tenant, a.kind, a.key)"
_EVENTS = f"""
SELECT {_NAME}, e.seq, e.lane, e.position, e.epoch, e.type, e.command_id, e.causation_id, e.session, e.code_version,
       coalesce((e.payload->>'amount')::int, 0),
       (e.payload->>'due_at')::float8 - extract(epoch FROM e.at)::float8,
       extract(epoch FROM e.at)::float8, e.payload->>'step', (e.payload->>'number')::int
FROM events e JOIN actors a USING (actor) ORDER BY e.actor, e.seq
"""
_INBOX = "SELECT replace(actor::text, '-', ''), command_id, seq, failed, result FROM inbox"
_LEFT = """
SELECT concat_ws('/', tenant, kind, key),
       'pending ' || state || ' ' || command_id || ' attempts ' || attempts || coalesce(' ' || error, '')
FROM pending
UNION ALL SELECT 'lane ' || lane, 'outbox ' || ord || ' ' || message_id || ' to ' || subject FROM outbox
UNION ALL SELECT concat_ws('/', tenant, kind, key), 'timer ' || name || ' due at ' || due_at FROM timers
UNION ALL SELECT concat_ws('/', tenant, kind, key), 'dead letter ' || command_id || ' ' || code || ': ' || error
FROM dead_letters
UNION ALL SELECT actor::text, 'paused: ' || reason FROM paused
UNION ALL SELECT concat_ws('/', tenant, kind, key), 'to be erased below ' || erase_below FROM actors
WHERE erase_below IS NOT NULL
"""
_SNAPSHOTS = f"""
SELECT {_NAME}, s.seq, (s.state::json->>'value')::int FROM snapshots s JOIN actors a USING (actor)
WHERE a.kind = 'counter'
"""
_PAYLOADS = f"""
SELECT {_NAME}, e.seq, e.payload::text FROM events e JOIN actors a USING (actor)
WHERE a.kind = 'session' OR e.payload->>'step' = 'model'
"""

_OWNERS = """
SELECT DISTINCT d.pid FROM pods d JOIN partitions p ON p.owner = d.id JOIN actors a USING (lane)
WHERE a.kind = 'counter' AND a.tenant <> 'probe'
"""


def read_log(system: System, actors: Iterable[str]) -> Log:
    """Everything the run left; `actors` are those whose inbox is wanted, also without events."""
    events: dict[str, list[Event]] = defaultdict(list)
    for row in system.sql(_EVENTS):
        events[row[0]].append(Event(*row))
    names = {actor_id(*address_of(actor)): actor for actor in {*actors, *events}}
    inbox = {(names.get(row[0], row[0]), row[1]): (row[2], row[3], row[4]) for row in system.sql(_INBOX)}
    snapshots = {row[0]: (row[1], row[2]) for row in system.sql(_SNAPSHOTS)}
    payloads = {(row[0], row[1]): row[2] for row in system.sql(_PAYLOADS)}
    return Log(events, inbox, left(system), snapshots, payloads)


def left(system: System) -> list[tuple[str, str]]:
    """Work that is not done: pending commands, unsent messages, timers, dead letters, pauses."""
    return [(row[0], row[1]) for row in system.sql(_LEFT)]


def owners(system: System) -> set[int]:
    """The processes that own a counter's lane."""
    return {row[0] for row in system.sql(_OWNERS)}


def journal(system: System, actor: str, around: str, rows: int = 12) -> list[str]:
    """What the log holds of one actor, around a command of it if there are many rows."""
    out = []
    for title, statement in _JOURNAL.items():
        found: list[Any] = system.sql(statement, actor)
        place = next((n for n, row in enumerate(found) if around in map(str, row)), len(found))
        shown = found[max(0, place - rows) : place + rows]
        out.append(f"  {title}: {len(found)} rows{', some of them' if len(shown) < len(found) else ''}")
        out += [f"    {' '.join(map(str, row))}" for row in shown]
    return out


_IS = "concat_ws('/', tenant, kind, key) = %s"
_IS_A = f"{_NAME} = %s"
_JOURNAL = {
    "events (seq, lane:position, epoch, type, command, causation, payload, at)": f"""
        SELECT e.seq, e.lane || ':' || e.position, e.epoch, e.type, e.command_id, e.causation_id, e.payload::text, e.at
        FROM events e JOIN actors a USING (actor) WHERE {_IS_A} ORDER BY e.seq""",
    "inbox (seq, command, failed, result, at)": f"""
        SELECT i.seq, i.command_id, i.failed, i.result, i.at
        FROM inbox i JOIN actors a USING (actor) WHERE {_IS_A} ORDER BY i.at, i.seq""",
    "pending (ord, command, state, attempts, due, error)": f"""
        SELECT ord, command_id, state, attempts, due_at, error FROM pending WHERE {_IS} ORDER BY ord""",
    "timers (name, due, fire id)": f"SELECT name, due_at, fire_id FROM timers WHERE {_IS}",
    "dead letters (command, code, error)": f"SELECT command_id, code, error FROM dead_letters WHERE {_IS}",
    "snapshot (seq, state)": f"SELECT s.seq, s.state FROM snapshots s JOIN actors a USING (actor) WHERE {_IS_A}",
    "lane (lane, owner, epoch, checkpoint, position)": f"""
        SELECT p.lane, p.owner, p.epoch, p.checkpoint, p.position
        FROM partitions p JOIN actors a USING (lane) WHERE {_IS_A}""",
}
