"""What may be asked of a session. What it does not hold any more is read from its log."""

from __future__ import annotations

from actors.models.wire import Message
from actors.sessions.session import (
    Adopted,
    Began,
    Event,
    Over,
    Session,
    Status,
    session,
)
from actors.sessions.transcript import Line
from runtime import Rejected, Turn
from runtime.kind import SYSTEM_EVENT_PREFIX, StoredEvent
from runtime.reading import Reading, payload_of

MAX_PAGE = 1000
SCAN = 200
"""Events that are read at once in search of a message."""


@session.query
def status(state: Session) -> Status:
    """How the session is."""
    transcript = state.transcript
    last = transcript.pages[-1][-1].at if transcript.pages and transcript.pages[-1] else 0.0
    said, forgotten = transcript.said, transcript.forgotten
    return Status(len(transcript), said, state.running, state.waiting, last, state.source, forgotten)


@session.query
async def history(state: Session, ctx: Turn, after: int = 0, limit: int = 100, forgotten: bool = False) -> list[Line]:
    """At most `limit` messages behind a number, in order; with `forgotten` those that are not told any more, too."""
    _page(limit)
    transcript = state.transcript
    kept = [] if forgotten else [one for one in transcript if after < one.number <= transcript.forgotten]
    start = after if forgotten else max(after, transcript.forgotten)
    if start + 1 < transcript.held_from and start < transcript.said:
        rest = await lines_of(ctx.reading, ctx.key, ctx.seq, start, limit)
        marked = {one.number: one for one in transcript}
        rest = [marked.get(line.number, line) for line in rest]
    else:
        rest = [line for line in transcript.after(start, limit) if line.number > start]
    return (kept + rest)[:limit]


@session.query
def window(state: Session, upto: int, limit: int = 100) -> tuple[str, list[Line]]:
    """What an agent is told: the summary of what was forgotten, and the last messages up to a number, in order."""
    return state.transcript.summary, state.transcript.last(_page(limit), upto)


@session.query
async def before(state: Session, ctx: Turn, upto: int, limit: int = 100) -> tuple[str, list[Line]]:
    """As `window`, but of any time: the summary as far as it is of messages up to a number, and the last ones to it."""
    transcript = state.transcript
    _page(limit)
    if not 0 < upto <= transcript.said:
        raise Rejected(f"session {ctx.key} has no message {upto}: it has {transcript.said}")
    if upto > transcript.forgotten and upto - limit >= transcript.held_from - 1:
        return transcript.summary, transcript.last(limit, upto)
    first = max(upto - limit, 0)
    lines = await lines_of(ctx.reading, ctx.key, ctx.seq, first, upto - first)
    told = upto > transcript.forgotten
    return transcript.summary if told else "", [one for one in lines if not told or one.number > transcript.forgotten]


async def lines_of(
    reading: Reading, key: str, seq: int, after: int, limit: int, forks: frozenset[str] = frozenset()
) -> list[Line]:
    """Messages behind a number as the log of a session has them, whose last event is `seq`; at most `limit`.

    What it has from another session, before it was forked, is read there. `forks` are those that ask so: a session that
    was deleted, and then forked from its own fork, has nothing more there.
    """
    found: list[Line] = []
    at = await place_of(reading, key, seq, after + 1)
    said = 0
    while len(found) < limit and at <= seq:
        events = await reading.log(session, key, at, SCAN)
        for stored in events:
            if stored.type.startswith(SYSTEM_EVENT_PREFIX):
                continue
            event = session.read(StoredEvent(stored.seq, stored.type, stored.version, payload_of(stored)))
            if isinstance(event, Adopted):
                said = event.upto
                first = event.lines[0].number if event.lines else event.upto + 1
                if after + 1 < first and event.source not in forks:
                    end = await _end(reading, event.source)
                    older = await lines_of(reading, event.source, end, after, limit, forks | {key})
                    found += [line for line in older if line.number < first]
                found += [line for line in event.lines if line.number > after]
                continue
            lines = lines_in(event, said)
            said = lines[-1].number if lines else said
            found += [line for line in lines if line.number > after]
        if len(events) < SCAN:
            break
        at = events[-1].seq + 1
    return found[:limit]


def lines_in(event: Event, said: int) -> list[Line]:
    """The messages that an event adds, behind so many."""
    match event:
        case Began(work, text, at, by):
            return [Line(work.number, Message("user", text), at, work.id, by)]
        case Over(id, at, messages):
            return [Line(said + number, message, at, id) for number, message in enumerate(messages, 1)]
        case _:
            return []


async def place_of(reading: Reading, key: str, seq: int, number: int) -> int:
    """A sequence from which on the log can be read to find a message: an event before it that says its own number."""
    low, high = 1, seq
    while high - low > SCAN:
        middle = (low + high) // 2
        event = await _began(reading, key, middle)
        if event is not None and event[1] <= number:
            low = event[0] if event[0] > low else high
        else:
            high = middle
    return low


async def _began(reading: Reading, key: str, at: int) -> tuple[int, int] | None:
    """(sequence, number) of the first message that began a run among the events at a place."""
    for stored in await reading.log(session, key, at, SCAN):
        if stored.type == Began.__name__:
            event = session.read(StoredEvent(stored.seq, stored.type, stored.version, payload_of(stored)))
            return stored.seq, event.work.number
    return None


async def _end(reading: Reading, key: str) -> int:
    """The sequence of the last event of another session, or a little behind it."""
    high = 1
    while await reading.log(session, key, high, 1):
        high *= 2
    return high


def _page(limit: int) -> int:
    if not 0 < limit <= MAX_PAGE:
        raise Rejected(f"limit is 1 to {MAX_PAGE}")
    return limit
