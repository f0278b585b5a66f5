"""What agents' models showed on the streams of sessions while they spoke, against what of it was recorded.

Who reads takes the values of the greatest attempt at a step that was seen, and drops all others: so a pod that died in
the middle of an answer leaves nothing behind, and neither does one that was frozen and wakes up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from schemas.shown import MODEL, Delta
from tests.chaos.evidence import Evidence, Verdict
from tests.chaos.record import Seen, Shown
from tests.chaos.rote import pieces_of

ATTEMPTS = 1_000_000_000
"""What an attempt's number is a multiple of, beside the epoch (runtime.host.screens)."""

Place = tuple[str, str, int]
"""A call of a model: the run's actor as `<kind>/<key>`, its command, and how many calls were before."""


class _Said(NamedTuple):
    """What a model call has recorded, in pieces, and in which epoch."""

    pieces: list[str]
    epoch: int


class _Message(msgspec.Struct):
    content: str = ""


class _Thought(msgspec.Struct):
    message: _Message


class _Step(msgspec.Struct):
    occurrence: int
    result: _Thought


_step = msgspec.json.Decoder(_Step)
_delta = msgspec.json.Decoder(Delta)


def check(evidence: Evidence, verdict: Verdict) -> None:
    """Looks at what each session's stream holds, and at what each of its readers got that was never reset."""
    said: dict[str, dict[Place, _Said]] = defaultdict(dict)
    for actor, events in evidence.log.events.items():
        tenant, _, name = actor.partition("/")
        for event in events:
            if event.step == MODEL and event.session is not None:
                step = _step.decode(evidence.log.payloads[actor, event.seq])
                place = (name, event.command_id, step.occurrence)
                said[f"{tenant}/{event.session}"][place] = _Said(pieces_of(step.result.message.content), event.epoch)
    whole = not evidence.allowed.shown_may_be_missing
    for session, facts in evidence.facts.items():
        _check(session, "the stream", facts, said[session], verdict, whole=whole)
    for reading in evidence.record.readings:
        if reading.ended and all(seen.sequence > 0 for seen in reading.seen):
            where = f"the reader by {reading.how}"
            _check(reading.session, where, reading.seen, said[reading.session], verdict, whole=False)


def _check(
    session: str, where: str, seen: Sequence[Seen], said: Mapping[Place, _Said], verdict: Verdict, *, whole: bool
) -> None:
    """`whole`: whether nothing that was shown may have been lost on its way."""
    shown: dict[Place, list[Shown]] = defaultdict(list)
    for one in seen:
        if one.shown is not None and one.shown.step == MODEL:
            shown[one.actor, one.command, one.shown.occurrence].append(one.shown)
    _check_notes(session, where, seen, verdict)
    for place, values in shown.items():
        _check_values(session, f"{where}: call {place[2] + 1} of run {place[1]}", values, said.get(place), verdict)
    for place, right in said.items():
        where_shown = f"{where}: call {place[2] + 1} of run {place[1]}"
        newest = max((one.attempt for one in shown[place]), default=0)
        if newest // ATTEMPTS > right.epoch:
            found = f"{where_shown} shows an attempt of epoch {newest // ATTEMPTS}, and {right.epoch} recorded it"
            verdict.duplicated.append((session, found))
        count = sum(len(one.values) for one in shown[place] if one.attempt == newest)
        if whole and (newest // ATTEMPTS, count) != (right.epoch, len(right.pieces)):
            found = f"{where_shown} shows {count} values of epoch {newest // ATTEMPTS}: {len(right.pieces)} of "
            verdict.lost.append((session, f"{found}{right.epoch} is right"))


def _check_notes(session: str, where: str, seen: Sequence[Seen], verdict: Verdict) -> None:
    """What runs show outside of their steps may come again when another pod goes on: the same, under its number."""
    notes: dict[tuple[str, str, int], str] = {}
    for one in seen:
        if one.shown is None or one.shown.step:
            continue
        for number, value in enumerate(one.shown.values, one.shown.first):
            before = notes.setdefault((one.actor, one.command, number), value)
            if value != before:
                found = f"{where}: run {one.command} shows {value} as its value {number}, which was {before}"
                verdict.duplicated.append((session, found))


def _check_values(session: str, where: str, values: Sequence[Shown], right: _Said | None, verdict: Verdict) -> None:
    """Each attempt shows each of its values once, in order, and what its model says."""
    next_one: dict[int, int] = defaultdict(int)
    for one in values:
        if one.first < next_one[one.attempt]:
            found = f"{where} shows value {one.first} of attempt {one.attempt} behind {next_one[one.attempt] - 1}"
            verdict.duplicated.append((session, found))
        next_one[one.attempt] = one.first + len(one.values)
        texts = [_delta.decode(value).text for value in one.values]
        if right is not None and texts != right.pieces[one.first : next_one[one.attempt]]:
            found = f"{where} shows {texts} from {one.first} on, and {right.pieces} is what was recorded"
            verdict.lost.append((session, found))
