"""Planted: the fence takes every pod for the owner, whatever the epoch.

The log has a second line behind the fence: a position of a lane is given once, so a pod that was fenced would fail when
it writes. That is planted away too: positions follow one another whoever asks for them.
"""

from __future__ import annotations

from runtime.postgres import queries
from tests.chaos.kinds import counter, errand

__all__ = ["counter", "errand"]

_COLUMNS = (
    "actor, seq, lane, position, partition, version, epoch, tenant, type, command_id, session, causation_id, "
    "correlation_id, principal, payload"
)
_NEXT = (
    "(SELECT coalesce(max(e.position), 0) FROM events e WHERE e.lane = u.lane AND e.partition = u.partition) "
    "+ row_number() OVER (PARTITION BY u.lane ORDER BY u.position)"
)


def _changed(name: str, *changes: tuple[str, str]) -> None:
    text = str(queries._QUERIES[name])
    for old, new in changes:
        assert old in text, f"the statement {name} has no {old!r} any more: plant the bug anew"
        text = text.replace(old, new)
    queries._QUERIES[name] = text


_changed("fence", ("p.epoch = u.epoch AND p.owner = %s", "u.epoch > 0 AND %s::text IS NOT NULL"))
_changed(
    "insert_events",
    ("SELECT u.*", "SELECT " + ", ".join(f"u.{name}" for name in _COLUMNS.split(", ")).replace("u.position", _NEXT)),
    ("%s::json[]) u", f"%s::json[]) u({_COLUMNS})"),
)
