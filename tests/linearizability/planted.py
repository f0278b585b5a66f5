"""Bugs that a pod is made to have when it loads this module: what the checker must find, or it shows nothing.

The variable LINEAR_PLANTED names one of BUGS; the module serves the kinds of kinds.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from runtime.host.aftermath import Aftermath
from runtime.host.leases import Leases
from runtime.host.plan import Plan
from runtime.host.planner import Planner
from runtime.host.pod import Pod
from tests.linearizability.kinds import cell, chain, register, tally

__all__ = ["BUGS", "MODULE", "VARIABLE", "cell", "chain", "register", "tally"]

MODULE = "tests.linearizability.planted"
VARIABLE = "LINEAR_PLANTED"


def _reads_without_lease() -> None:
    """Queries are answered from memory, whoever owns the lane by now: stale on a pod that was frozen and wakes up.

    It does not look who owns its lanes either: only a commit that is fenced tells it.
    """
    Leases.valid = lambda self: True  # type: ignore[method-assign]  # this is the bug
    Leases._forget_lost = lambda self, owners: None  # type: ignore[method-assign]  # so that it lasts


def _reads_after_a_lapse() -> None:
    """A heartbeat that comes too late makes the lease good again before the pod has seen who took its lanes."""

    def renew(self: Leases, until: float) -> None:
        self.until = until

    Leases._renew = renew  # type: ignore[method-assign]  # this is the bug


def _replies_before_commit() -> None:
    """Answers are published when the turns are over and before the transaction is committed: no read sees it yet."""
    begin, plan = Aftermath.__init__, Planner.plan
    made: list[Aftermath] = []

    def begun(self: Aftermath, pod: Pod) -> None:
        begin(self, pod)
        made.append(self)

    async def planned(self: Planner, *arguments: Any) -> Plan:
        found = await plan(self, *arguments)
        made[-1]._answer(found.answers)
        return found

    Aftermath.__init__ = begun  # type: ignore[method-assign]  # this is the bug
    Planner.plan = planned  # type: ignore[assignment, method-assign]  # this is the bug


BUGS: dict[str, Callable[[], None]] = {
    "reads-without-lease": _reads_without_lease,
    "reads-after-a-lapse": _reads_after_a_lapse,
    "replies-before-commit": _replies_before_commit,
}

if os.environ.get(VARIABLE):
    BUGS[os.environ[VARIABLE]]()
