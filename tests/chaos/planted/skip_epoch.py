"""Planted: what a pod took it keeps, whatever the epoch: neither the fence nor its look at the lanes asks for it.

The log has a second line behind that: a sequence of an actor and a position of a lane are given once, so a pod that
should have been fenced fails when it writes, and reads everything anew. That is planted away too: whoever writes gets
the next ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from runtime.host.leases import Leases
from runtime.postgres import queries
from tests.chaos.kinds import counter, errand

__all__ = ["counter", "errand"]

_COLUMNS = (
    "code_version, actor, seq, lane, position, partition, version, epoch, tenant, type, command_id, session, "
    "causation_id, correlation_id, principal, payload"
)
_NEXT = (
    "(SELECT coalesce(max(e.{0}), 0) FROM events e WHERE e.{1} = u.{1} AND e.partition = u.partition) "
    "+ row_number() OVER (PARTITION BY u.{1} ORDER BY u.{0})"
)
_CHOSEN = {"seq": _NEXT.format("seq", "actor"), "position": _NEXT.format("position", "lane")}


def _changed(name: str, *changes: tuple[str, str]) -> None:
    text = str(queries._QUERIES[name])
    for old, new in changes:
        assert old in text, f"the statement {name} has no {old!r} any more: plant the bug anew"
        text = text.replace(old, new)
    queries._QUERIES[name] = text


async def _confirm_without_epoch(self: Leases) -> None:
    self.until = max(self.until, self._renewed)


def _forget_nothing(self: Leases, owners: Mapping[int, tuple[str | None, int]]) -> None:
    """What another pod has taken is still this one's."""


Leases._confirm = _confirm_without_epoch  # type: ignore[method-assign]  # that is the bug
Leases._forget_lost = _forget_nothing  # type: ignore[method-assign]  # that is the bug
_changed("fence", ("p.epoch = u.epoch AND p.owner = %s", "u.epoch > 0 AND %s::text IS NOT NULL"))
_WRITTEN = ", ".join(_CHOSEN.get(name, f"u.{name}") for name in _COLUMNS.split(", "))
_changed(
    "insert_events",
    ("SELECT %s,", f"SELECT {_WRITTEN} FROM (SELECT %s,"),
    ("unnest(%s::json[])", f"unnest(%s::json[])) u({_COLUMNS})"),
)
