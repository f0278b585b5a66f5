"""What a kind declares: how failing messages are tried again, what becomes of their actor, which events stay rows."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from runtime.errors import Retry


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast a failing message is tried again.

    `max_attempts` counts the first try. The wait before attempt n+1 is `first_delay_s * factor ** (n - 1)`, at most
    `max_delay_s`, times a random number in [1 - jitter, 1]; a handler that raises `Retry(after_s=…)` says it itself.
    Errors in `never` are not retried: classes, or names such as "ValueError" or "httpx.ConnectError", also of a base
    class, so that whoever defines the policy need not import them. With `max_elapsed_s`, no attempt is made later than
    so many seconds after the message was accepted (or was to start), and one of a function ends by then.
    """

    max_attempts: int = 3
    first_delay_s: float = 0.1
    factor: float = 2.0
    max_delay_s: float = 30.0
    jitter: float = 0.2
    never: tuple[type[BaseException] | str, ...] = ()
    max_elapsed_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError("max_attempts counts the first try, so it is at least 1")
        finite = all(map(math.isfinite, (self.first_delay_s, self.max_delay_s, self.factor)))
        if not finite or self.first_delay_s < 0 or self.max_delay_s < 0 or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError("delays are finite and not negative, factor is at least 1, jitter is between 0 and 1")
        if self.max_elapsed_s is not None and not 0 < self.max_elapsed_s < math.inf:
            raise ValueError("max_elapsed_s is a number of seconds of more than 0, or None")

    def gives_up(self, error: BaseException) -> bool:
        """Whether an error is one of those that are not retried."""
        return any(
            isinstance(error, one)
            if isinstance(one, type)
            else any(one in (cls.__name__, f"{cls.__module__}.{cls.__qualname__}") for cls in type(error).__mro__)
            for one in self.never
        )

    def wait_s(self, error: BaseException, attempts: int, random: float) -> float:
        """Seconds to wait after `attempts` failed tries, of which the last one ended with `error`."""
        if isinstance(error, Retry) and error.after_s is not None:
            return error.after_s
        return self.delay_s(attempts, random)

    def delay_s(self, attempts: int, random: float) -> float:
        """Seconds to wait after `attempts` failed tries; `random` is in [0, 1)."""
        try:
            delay = min(self.first_delay_s * self.factor ** (attempts - 1), self.max_delay_s)
        except OverflowError:
            delay = self.max_delay_s if self.first_delay_s else 0.0
        return delay * (1 - self.jitter * random)


OnParked = Literal["continue", "pause"]
"""After a message is parked, its actor goes on with the next one, or pauses until a person resumes it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Retention:
    """Which events of an actor stay rows of the log's table; older ones may be archived, and are read from there.

    An event is old when at least `keep_events` newer ones of its actor are there and it is older than `keep_for_s`
    seconds. With `archive`, pods that know an archive (RUNTIME_ARCHIVE_URL) move old events there by themselves;
    without, only `runtime log archive` does. Nothing is ever deleted.
    """

    keep_events: int = 100
    keep_for_s: float = 30 * 86_400.0
    archive: bool = True

    def __post_init__(self) -> None:
        if self.keep_events < 1:
            raise ValueError("keep_events is at least 1: the newest event of an actor says how far its log goes")
        if not math.isfinite(self.keep_for_s) or self.keep_for_s < 0:
            raise ValueError("keep_for_s is a number of seconds, finite and not negative")
