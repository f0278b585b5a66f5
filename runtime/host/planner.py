"""Running the turns of a batch in the turn thread, and going on without what makes one stand still."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from runtime.clock import Clock
from runtime.host.command import Command
from runtime.host.handling import Running
from runtime.host.identity import Identity
from runtime.host.items import Anchor, Finished, Item, Sent, Step, name_of
from runtime.host.lane import Activation
from runtime.host.meter import Meter
from runtime.host.observer import Observer
from runtime.host.plan import Plan
from runtime.host.ports import Found, LogUnavailable
from runtime.host.threads import TurnRunner
from runtime.host.trials import Trials
from runtime.host.turn_thread import StuckInHandler
from runtime.host.turns import Turns
from runtime.kind import Kind

_log = logging.getLogger("troupe.committer")

ISOLATED_FOR_S = 60.0
REMEMBERED = 10_000
"""Actors whose fold is known to take long; beyond, they are found out anew."""


def runs_no_handler(items: Sequence[Item], hot: Mapping[str, Activation]) -> bool:
    """Whether the turns of `items` run nothing of users', not even a fold: they need no thread of their own."""
    for item in items:
        if type(item) is Step or type(item) is Finished:
            if item.command.actor not in hot:
                return False
        elif type(item) is not Sent and type(item) is not Anchor:
            return False
    return True


class Planner:
    """Makes the plans of a pod's batches."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        clock: Clock,
        meter: Meter,
        principal_of: Callable[[Command], str | None],
        trials: Trials,
        thread: TurnRunner,
        identity: Identity | None = None,
    ) -> None:
        self._identity = identity
        self._kinds = kinds
        self._clock = clock
        self._meter = meter
        self._principal_of = principal_of
        self._trials = trials
        self._thread = thread
        self._isolated: dict[tuple[str, str], float] = {}
        self._outside: set[str] = set()
        self.observer: Observer | None = None

    def close(self) -> None:
        """Ends the turn thread."""
        self._thread.close()

    async def plan(
        self,
        items: list[Item],
        found: Found,
        hot: Mapping[str, Activation],
        ahead: Plan | None = None,
        early: Sequence[Item] = (),
    ) -> Plan:
        """Runs the turns of `items`. `ahead` is the plan of those of them that ran already, `early`."""
        now = self._clock.monotonic()
        for method, until in list(self._isolated.items()):
            if until < now:
                del self._isolated[method]
        plan, rest = ahead, items
        if plan is not None:
            if len(early) == len(items):
                return plan
            ran = set(map(id, early))
            rest = [item for item in items if id(item) not in ran]
        outside: frozenset[str] | None = frozenset(self._outside)
        while True:
            if plan is None:
                trying, identity = self._trials.going_on, self._identity
                plan = Plan(self._clock.now(), self._clock.monotonic, trying=trying, identity=identity)
                rest = items
            turns = (Turns if self.observer is None else self.observer.turns)(
                self._kinds,
                hot,
                found,
                plan,
                isolated=frozenset(self._isolated),
                outside=outside,
                principal_of=self._principal_of,
                random=self._clock.random,
            )
            if runs_no_handler(rest, hot):
                turns.run(rest)
                return plan
            try:
                await self._thread.run(partial(turns.run, rest), progress=turns.progress)
                return plan
            except StuckInHandler:
                plan.abandoned = True
                plan = None
                if self._isolate(turns.running):
                    outside = None  # its other cold actors may be as slow: one of them at a time would take too long

    def _isolate(self, running: Running) -> bool:
        """Keeps what made a batch stand still out of the next ones; whether it was a fold.

        Raises LogUnavailable when it is not known what it was.
        """
        self._meter.slow_handlers += 1
        item = "?" if running.item is None else name_of(running.item)
        if running.loading is not None and running.loading not in self._outside:
            if len(self._outside) >= REMEMBERED:
                self._outside.clear()
            self._outside.add(running.loading)
            _log.warning("folding the log for %s takes long: such actors are loaded beside the turns", item)
            return True
        name = running.method.name if running.method is not None else "?"
        if running.method is None or (running.kind, name) in self._isolated:
            raise LogUnavailable(f"the turn of {item} blocks outside its handler")
        self._isolated[running.kind, name] = self._clock.monotonic() + ISOLATED_FOR_S
        _log.warning(
            "handler %s.%s blocked its pod's turns: it runs beside them for the next %.0f s. A decision must "
            "not wait or compute for long; make it an async write handler or a function",
            running.kind,
            name,
            ISOLATED_FOR_S,
        )
        return False
