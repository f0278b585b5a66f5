"""Runs read from Postgres: pages of them, and one with its moments. The statements are in runs.sql."""

from __future__ import annotations

from typing import Any

from runtime.host.listing import FIRST, RunFilter, Wanted
from runtime.postgres.queries import query
from runtime.postgres.session import Session

Row = dict[str, Any]

_LISTED = (
    "actor", "kind", "key", "method", "command_id", "digest", "status", "attempts", "tags", "since", "due_at",
    "expires_at", "ended_at", "code", "error",
)  # fmt: skip
_ONE = (*_LISTED, "body", "content_type", "ahead")
_HOLDER = ("id", "method", "status", "since", "attempts", "error", "due_at")
_MOMENT = ("seq", "at", "type", "command_id", "causation_id", "principal", "payload")


async def listed(session: Session, tenant: str, wanted: RunFilter, limit: int) -> list[Row]:
    """Runs that fit, the latest first, behind the filter's cursor."""
    since, actor, id = wanted.cursor or FIRST
    parameters = {
        "tenant": tenant,
        "kind": wanted.kind,
        "key": wanted.key,
        "tag": wanted.tag,
        "from": wanted.since,
        "before": since,
        "before_actor": actor,
        "before_id": id,
        "live": wanted.live,
        "ended": wanted.ended,
        "limit": limit,
    }
    return [dict(zip(_LISTED, row, strict=True)) for row in await session.run(query("list_runs"), parameters)]


async def described(session: Session, tenant: str, wanted: Wanted) -> Row | None:
    """One run: its row, who holds its key, and its moments behind `wanted.after`; None when there is none."""
    parameters = wanted._asdict() | {"tenant": tenant}
    rows = await session.run(query("one_run"), parameters)
    if not rows:
        return None
    run = dict(zip(_ONE, rows[0], strict=True))
    holders = await session.run(query("key_holder"), parameters)
    paused = await session.run(query("actor_paused"), (wanted.actor,))
    letters = await session.run(query("parked_letter"), parameters)
    moments = await session.run(query("run_moments"), parameters)
    steps = await session.run(query("steps_before"), parameters)
    return run | {
        "holder": dict(zip(_HOLDER, holders[0], strict=True)) if holders else None,
        "paused": paused[0][0] if paused else None,
        "dead_letter": letters[0][0] if letters else None,
        "moments": [dict(zip(_MOMENT, row, strict=True)) for row in moments],
        "steps_before": steps[0][0],
        "steps": steps[0][1],
    }
