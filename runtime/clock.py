"""All time and randomness of the engine, so that tests and the simulator own them."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    """Where time and randomness come from."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds from some start; never goes back."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def token(self, n_bytes: int) -> str:
        """`n_bytes` random bytes as hex."""


class SystemClock:
    """The machine's clock and entropy."""

    __slots__ = ("monotonic", "now", "random")

    def __init__(self) -> None:
        self.now = time.time
        self.monotonic = time.monotonic
        self.random = random.random

    def token(self, n_bytes: int) -> str:
        return random.SystemRandom().randbytes(n_bytes).hex()


@dataclass
class ManualClock:
    """A clock that stands still until it is told to move."""

    at: float = 1_700_000_000.0
    seed: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def advance(self, seconds: float) -> None:
        """Moves time forward. `seconds` must not be negative."""
        if seconds < 0:
            raise ValueError("time does not go back: advance() takes seconds of at least 0")
        self.at += seconds

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def random(self) -> float:
        return self._random.random()

    def token(self, n_bytes: int) -> str:
        return self._random.randbytes(n_bytes).hex()


system_clock = SystemClock()
