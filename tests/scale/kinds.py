"""The kind whose long logs have snapshots; the one without is tests.bench.kinds.ledger, which gets its query here."""

from __future__ import annotations

from runtime.entity import entity
from tests.bench.kinds import Added, Counter, apply, ledger

journal = entity("journal", initial=Counter(), apply=apply)


@journal.command
def book(state: Counter, entries: int) -> list[Added]:
    """Books so many entries of one."""
    return [Added(1)] * entries


@journal.query
def total(state: Counter) -> int:
    """How many were booked."""
    return state.value


ledger.query(total)
