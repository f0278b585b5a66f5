"""Who may watch a pod at work; runtime/telemetry is one. Without an observer nothing of this is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from runtime.host.items import Item
from runtime.host.lane import Lane
from runtime.host.plan import Plan
from runtime.host.turns import Turns


class Marks(NamedTuple):
    """When a batch began, had run its turns, and was committed; monotonic seconds."""

    began: float
    ran: float
    committed: float


class Observer(Protocol):
    """Watches batches. Called from the pod's event loop; must not wait and must not raise."""

    def turns(self, *args: Any, **kwargs: Any) -> Turns:
        """The Turns of the next batch, which may be a subclass that looks on."""

    def committed(self, batch: Sequence[Item], plan: Plan, fenced: Sequence[Lane], marks: Marks) -> None:
        """A batch was committed, and everything that follows from it was done."""
