"""Pending decisions that may have ended a process before: tried one at a time, and nothing else is tried meanwhile.

A command from the stream that kills its process is found by counting attempts in `partitions` (Committer._probe). One
that had to wait behind a held key is in `pending`, and has its attempts counted there: after an unclean death it runs
as an execution. While it does, no other pending decision and no careful lane's command is tried, so that none is blamed
for its deed.
"""

from __future__ import annotations

from collections import deque

from runtime.host.items import Next, Rerun, Start
from runtime.host.plan import Plan

LOOK_AGAIN_S = 0.1
"""How often it is seen whether a trial ended with its lane, of which nobody is told."""


class Trials:
    """The trials of one pod."""

    def __init__(self) -> None:
        self._trial: Start | None = None
        self._put_off: deque[Next | Rerun] = deque()

    def __bool__(self) -> bool:
        """Whether something may be tried now."""
        return len(self._put_off) > 0 and not self.going_on

    @property
    def going_on(self) -> bool:
        """Whether one is on trial now."""
        if self._trial is None:
            return False
        command = self._trial.command
        return command.lane.alive and (command.actor, command.id) in command.lane.active

    def next(self) -> Next | Rerun | None:
        """What was put off and may be tried now."""
        return self._put_off.popleft() if self else None

    def committed(self, plan: Plan) -> None:
        """A plan was committed and its executions were started."""
        self._trial = plan.trial or self._trial
        self._put_off.extend(plan.put_off)

    def clear(self) -> None:
        """Forgets what was put off."""
        self._put_off.clear()
