"""One fault as it happened, and one kind of fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.chaos.stage import Needs
from tests.support.blocks import Stored

if TYPE_CHECKING:
    from tests.chaos.faults.injector import Faults


@dataclasses.dataclass(slots=True)
class Fault:
    """One fault as it happened.

    Attributes:
        kind: the name of its kind.
        at: when it began, in Unix seconds.
        victim: whom it hit.
        detail: how, for a person.
        lanes: (lane, epoch) that lost their owner by it.
        until: when it was over, in Unix seconds; 0.0 while it goes on.
        since: for a restored backup, when it was taken; for a power cut, from when on what was stored is gone.
        lost: what a power cut took from the broker, by stream.
    """

    kind: str
    at: float
    victim: str
    detail: str = ""
    lanes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    until: float = 0.0
    since: float = 0.0
    lost: dict[str, list[Stored]] = dataclasses.field(default_factory=dict)


def nothing_missing() -> str | None:
    """For kinds that can be had on every machine."""
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class FaultKind:
    """A kind of fault.

    Attributes:
        name: what FAULTS= calls it.
        says: one line for a person.
        inject: makes one happen; returns when the next fault may come. What lasts longer goes on in the background.
        needs: of the stage.
        missing: why it cannot be had on this machine; None when it can.
        rest_s: seconds without another fault behind it, so that it is seen how everything resumes.
        outage: whether a server is away for a whole minute.
    """

    name: str
    says: str
    inject: Callable[[Faults], Awaitable[None]]
    needs: Needs = dataclasses.field(default_factory=Needs)
    missing: Callable[[], str | None] = nothing_missing
    rest_s: float | None = None
    outage: bool = False
