"""A world in which one pod is spared: what leaks needs a process that lives long enough to show it."""

from __future__ import annotations

from tests.chaos.world import World
from tests.support.system import PodProcess


class ElderWorld(World):
    """`elder`, once it is set, is no fault's victim; it sees what the faults do to the servers and to other pods."""

    elder: PodProcess | None = None

    def running(self) -> list[PodProcess]:
        """Pods that are up, not frozen, and not the elder."""
        return [pod for pod in super().running() if pod is not self.elder]

    @property
    def elder_lives(self) -> bool:
        """Whether the elder has not ended by itself."""
        return self.elder is not None and self.elder.process.poll() is None
