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


class LogTime:
    """The clock of a pod: its wall time is the log's, as heartbeats tell it; all else is the process's own.

    What one pod says is due, late or expired, another must agree to, and a machine's wall clock may jump by minutes.
    Between heartbeats the monotonic clock counts, so such a jump is not seen at all. Until the first one it is the
    machine's wall clock at the start.
    """

    __slots__ = ("_ahead", "_heard", "monotonic", "random", "token")

    def __init__(self, own: Clock) -> None:
        self.monotonic = own.monotonic
        self.random = own.random
        self.token = own.token
        self._ahead = own.now() - own.monotonic()
        self._heard = False

    def now(self) -> float:
        """Unix seconds, by the log's clock."""
        return self.monotonic() + self._ahead

    def heard(self, log_now: float, asked: float, answered: float) -> None:
        """The log said `log_now` (Unix seconds) between `asked` and `answered` (monotonic)."""
        ahead, doubt = log_now - (asked + answered) / 2, (answered - asked) / 2
        if not self._heard or abs(ahead - self._ahead) > doubt:  # else it only shows how long the answer took
            self._ahead = ahead
            self._heard = True


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
