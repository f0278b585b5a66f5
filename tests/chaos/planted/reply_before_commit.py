"""Planted: callers are answered before the commit that makes their answers true."""

from __future__ import annotations

from typing import Any

from runtime.host.aftermath import Aftermath
from runtime.host.plan import Plan
from runtime.host.planner import Planner
from runtime.host.ports import Changes, Wanted
from runtime.postgres.commit_log import PostgresCommitLog
from tests.chaos.kinds import counter, errand

__all__ = ["counter", "errand"]

_aftermaths: list[Aftermath] = []
_plans: list[Plan] = []
_init, _plan, _commit = Aftermath.__init__, Planner.plan, PostgresCommitLog.commit


def _remember(self: Aftermath, *arguments: Any) -> None:
    _init(self, *arguments)
    _aftermaths[:] = [self]


async def _plan_and_remember(self: Planner, *arguments: Any) -> Plan:
    plan = await _plan(self, *arguments)
    _plans[:] = [plan]
    return plan


async def _never(self: PostgresCommitLog, wanted: Wanted, changes: Changes) -> bool:
    return False


async def _answer_and_commit(self: PostgresCommitLog, changes: Changes) -> None:
    for plan in _plans:
        if plan.changes is changes:
            _aftermaths[0]._answer(plan.answers)
            plan.answers.clear()
    await _commit(self, changes)


Aftermath.__init__ = _remember  # type: ignore[assignment,method-assign]  # that is the bug
Planner.plan = _plan_and_remember  # type: ignore[assignment,method-assign]  # that is the bug
PostgresCommitLog.commit = _answer_and_commit  # type: ignore[method-assign]  # that is the bug
PostgresCommitLog.commit_at_once = _never  # type: ignore[method-assign]  # there all happens in one round trip
