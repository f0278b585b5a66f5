"""What happens to a message whose handler fails: how often it is tried again, and what becomes of its actor."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast a failing message is tried again.

    `max_attempts` counts the first try. The wait before attempt n+1 is `first_delay_s * factor ** (n - 1)`, at most
    `max_delay_s`, times a random number in [1 - jitter, 1]. Errors in `never` are not retried.
    """

    max_attempts: int = 3
    first_delay_s: float = 0.1
    factor: float = 2.0
    max_delay_s: float = 30.0
    jitter: float = 0.2
    never: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts counts the first try, so it is at least 1")
        finite = all(map(math.isfinite, (self.first_delay_s, self.max_delay_s, self.factor)))
        if not finite or self.first_delay_s < 0 or self.max_delay_s < 0 or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError("delays are finite and not negative, factor is at least 1, jitter is between 0 and 1")

    def delay_s(self, attempts: int, random: float) -> float:
        """Seconds to wait after `attempts` failed tries; `random` is in [0, 1)."""
        try:
            delay = min(self.first_delay_s * self.factor ** (attempts - 1), self.max_delay_s)
        except OverflowError:
            delay = self.max_delay_s if self.first_delay_s else 0.0
        return delay * (1 - self.jitter * random)


OnParked = Literal["continue", "pause"]
"""After a message is parked, its actor goes on with the next one, or pauses until a person resumes it."""
