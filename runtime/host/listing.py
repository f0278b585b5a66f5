"""What pods answer about runs: pages of them, and one with its timeline (`svc.runs`, `svc.run`)."""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from typing import Any, NamedTuple, Protocol

import msgspec

from runtime.host.forks import FORKED
from runtime.kind import SYSTEM_EVENT_PREFIX
from schemas.address import actor_id, encode_token, partition_of
from schemas.runs import encode_run_id
from schemas.timeline import ENDED, LIVE, STATUSES, Holder, ListedRun, Moment, RunDescription, RunPage

Row = dict[str, Any]
Place = tuple[str, str, str]
"""Where a page ends: time, actor and command id of its last run."""

FIRST: Place = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff", "")
_ACTOR = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

SHOWN_VALUE = 400
"""Bytes of a step's result, or of what was said, that a timeline shows."""


class RunFilter(NamedTuple):
    """Which runs are wanted: of these states, and where not None, this kind, key and tag, and since that time."""

    live: list[str]
    ended: list[str]
    kind: str | None = None
    key: str | None = None
    tag: str | None = None
    since: datetime.datetime | None = None
    cursor: Place | None = None


class Wanted(NamedTuple):
    """A run, and which of its moments: at most `limit` behind the sequence `after`."""

    actor: str
    partition: int
    command_id: str
    after: int
    limit: int


class RunSource(Protocol):
    """What the log knows of runs; see runtime.postgres.listing. Raises LogUnavailable."""

    async def runs(self, tenant: str, wanted: RunFilter, limit: int) -> list[Row]: ...
    async def run(self, tenant: str, wanted: Wanted) -> Row | None: ...


def filter_of(
    statuses: list[str] | None,
    kind: str | None,
    key: str | None,
    tag: str | None,
    since: datetime.datetime | None,
    cursor: str | None,
) -> RunFilter:
    """A filter from what was asked. Statuses may be `live` and `ended`; none are all. Raises ValueError."""
    wanted: set[str] = set()
    for status in statuses or STATUSES:
        if status not in (*STATUSES, "live", "ended"):
            raise ValueError(f"{status!r} is no status of a run: use {', '.join(STATUSES)}, live or ended")
        wanted |= set(LIVE) if status == "live" else set(ENDED) if status == "ended" else {status}
    live: list[str] = [one for one in LIVE if one in wanted]
    ended: list[str] = [one for one in ENDED if one in wanted]
    return RunFilter(live, ended, kind, key, tag, since, None if cursor is None else _place_of(cursor))


async def page(source: RunSource, tenant: str, wanted: RunFilter, limit: int) -> RunPage:
    """A page of runs."""
    rows = await source.runs(tenant, wanted, limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    return RunPage([ListedRun(**_listed(row)) for row in rows], _cursor_of(rows[-1]) if more else None)


async def description(
    source: RunSource, tenant: str, kind: str, key: str, command_id: str, partitions: int, after: int, limit: int
) -> RunDescription | None:
    """A run with the moments behind sequence `after`; None when the log knows no such run."""
    token = encode_token(key)
    partition = partition_of(tenant, kind, token, partitions)
    row = await source.run(tenant, Wanted(actor_id(tenant, kind, token), partition, command_id, after, limit))
    if row is None:
        return None
    arguments, known = _arguments(row)
    holder, queued = row["holder"], row["status"] == "queued"
    held_by = None
    if queued and holder is not None and holder["id"] != command_id:
        held_by = Holder(**holder | {"since": _text(holder["since"]), "due_at": _text(holder["due_at"])})
    return RunDescription(
        **_listed(row),
        arguments=arguments,
        has_arguments=known,
        content_type=row["content_type"],
        held_by=held_by,
        ahead=row["ahead"] if queued else 0,
        steps=row["steps"],
        paused=row["paused"] if row["ended_at"] is None else None,
        dead_letter=row["dead_letter"],
        timeline=_timeline(row["moments"], row["steps_before"]),
        more=len(row["moments"]) == limit,
    )


def _listed(row: Row) -> Row:
    return {
        "run_id": encode_run_id(row["kind"], row["key"], row["command_id"], row["digest"]),
        "id": row["command_id"],
        "tags": list(row["tags"] or ()),
        **{name: row[name] for name in ("kind", "key", "method", "status", "attempts", "code", "error")},
        **{name: _text(row[name]) for name in ("since", "due_at", "expires_at", "ended_at")},
    }


def _arguments(row: Row) -> tuple[Any, bool]:
    """(the arguments, whether they are known). Of a body that is no JSON they are not."""
    if row["body"] is None or row["content_type"] not in (None, "application/json"):
        return None, False
    body = bytes(row["body"])
    if not body:
        return None, True
    try:
        return msgspec.json.decode(body), True
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, False


def _timeline(moments: list[Row], number: int) -> list[Moment]:
    found = []
    for row in moments:
        moment = _moment(row)
        if moment.what == "step" and moment.name == FORKED:
            moment.what, moment.name = "forked", ""
        elif moment.what == "step":
            number += 1
            moment.number = number
        found.append(moment)
    return found


def _moment(row: Row) -> Moment:
    """What a stored event of a run says: an Entry of runtime.journal, a Message of runtime.mail, or another fact."""
    what = row["type"].removeprefix(SYSTEM_EVENT_PREFIX)
    fact: dict[str, Any] = msgspec.json.decode(row["payload"])
    moment = Moment(seq=row["seq"], at=_text(row["at"]) or "", what=what, by=fact.get("by") or row["principal"] or "")
    moment.attempt = fact.get("attempt", fact.get("attempts", 0))
    if what == "step":
        moment.name, moment.took_ms = fact["step"], fact.get("took_ms", 0)
        moment.value = _shown(fact.get("result"))
        if (rejected := fact.get("rejected")) is not None:
            moment.error = rejected["message"]
    elif what in ("signal", "update", "answer", "cancel"):
        moment.name, moment.value = fact.get("name", ""), _shown(fact.get("value"))
        if (failure := fact.get("error")) is not None:
            moment.error = failure["message"]
    else:
        moment.name, moment.error = fact.get("reason", ""), fact.get("error")
    return moment


def _shown(value: Any) -> Any:
    """A value, or the beginning of its text when it is long."""
    text = msgspec.json.encode(value)
    return value if len(text) <= SHOWN_VALUE else text[:SHOWN_VALUE].decode(errors="ignore") + "…"


def _text(at: datetime.datetime | None) -> str | None:
    return None if at is None else at.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")


def _cursor_of(row: Row) -> str:
    place: Place = (_text(row["since"]) or "", row["actor"], row["command_id"])
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).rstrip(b"=").decode()


def _place_of(cursor: str) -> Place:
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        since, actor, id = msgspec.msgpack.decode(raw, type=Place)
        if _text(datetime.datetime.fromisoformat(since)) != since or not _ACTOR.match(actor) or "\0" in id:
            raise ValueError("no place")
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, ValueError, OverflowError) as error:
        raise ValueError(f"{cursor[:80]!r} is not a cursor: use the one that the page before ended with") from error
    return since, actor, id
