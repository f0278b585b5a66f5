"""What runs show, on its way to the streams of their sessions: values that wait are sent together.

The first value of a quiet pod leaves at once. The more steps show something, the longer the next ones wait for more of
their own: a pod sends so many messages a second at most, however many tokens its models write.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import Callable

import msgspec

from runtime.clock import Clock
from runtime.host.command import Command
from runtime.host.crossing import Crossing
from runtime.showing import Shown
from schemas import subjects
from schemas.wire import Fact

PAUSE_S = 0.005
"""Between two sendings, at least."""

PAUSE_EACH_S = 0.0002
"""The same for each message of the last sending."""

MOST_BYTES = 262_144
"""Of one message, but for a single value."""

ATTEMPTS = 1_000_000_000
"""What an epoch is multiplied with in an attempt's number, to which the attempts of its owner's process are added."""

_encode = msgspec.json.Encoder().encode


class Screens:
    """All that a pod's runs show.

    Args:
        post: publishes a message, or drops it.
    """

    def __init__(self, post: Callable[[str, bytes], None], clock: Clock) -> None:
        self._post = post
        self._clock = clock
        self._numbers = itertools.count(1)
        self._waiting: dict[tuple[str, str, str, int], _Waiting] = {}
        self._sending: asyncio.TimerHandle | None = None
        self._next_at = 0.0

    def attempt(self, command: Command) -> int:
        """The number of a new attempt. The epoch grows with each owner of the lane, so that this does as well."""
        return command.lane.epoch * ATTEMPTS + next(self._numbers)

    def put(self, command: Command, shown: Shown) -> None:
        """Takes a value along."""
        if shown.value is None:
            self.flush(command, shown.step, shown.occurrence)
            self._send(_Waiting(command, shown))
            return
        place = (command.actor, command.id, shown.step, shown.occurrence)
        waiting = self._waiting.get(place)
        if waiting is not None and not waiting.takes(shown):
            self._send(self._waiting.pop(place))
            waiting = None
        if waiting is None:
            self._waiting[place] = _Waiting(command, shown)
        else:
            waiting.add(shown.value)
        if self._sending is None:
            loop = asyncio.get_running_loop()
            self._sending = loop.call_at(max(loop.time(), self._next_at), self._send_all)

    def flush(self, command: Command, step: str, occurrence: int) -> None:
        """Sends what waits of one step."""
        waiting = self._waiting.pop((command.actor, command.id, step, occurrence), None)
        if waiting is not None:
            self._send(waiting)

    def _send_all(self) -> None:
        self._sending = None
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            self._send(one)
        self._next_at = asyncio.get_running_loop().time() + max(PAUSE_S, len(waiting) * PAUSE_EACH_S)

    def _send(self, waiting: _Waiting) -> None:
        command, first = waiting.command, waiting.first
        assert command.session is not None
        tenant, kind, key = command.address
        at = datetime.datetime.fromtimestamp(self._clock.now(), datetime.UTC).isoformat(timespec="milliseconds")
        values = msgspec.Raw(b"[" + b",".join(waiting.values) + b"]")
        fact = Fact(
            "progress", first.step, command.id, tenant, kind, key, at=at, data=values, attempt=first.attempt,
            occurrence=first.occurrence, first=first.number,
        )  # fmt: skip
        self._post(subjects.events(tenant, command.session), _encode(fact))


class _Waiting:
    """Values of one attempt, in a row."""

    __slots__ = ("command", "first", "size", "values")

    def __init__(self, command: Command, first: Shown) -> None:
        self.command = command
        self.first = first
        self.values = [] if first.value is None else [first.value]
        self.size = sum(map(len, self.values))

    def takes(self, shown: Shown) -> bool:
        """Whether a value may be sent with these."""
        first, value = self.first, shown.value or b""
        in_a_row = (first.attempt, first.number + len(self.values)) == (shown.attempt, shown.number)
        return in_a_row and self.size + len(value) <= MOST_BYTES

    def add(self, value: bytes) -> None:
        """One more."""
        self.values.append(value)
        self.size += len(value)


class RunScreen:
    """See runtime.showing.Screen: that of one attempt at a run, whose values cross over to the pod's event loop."""

    __slots__ = ("_closed", "_command", "_screens", "_way")

    def __init__(self, screens: Screens, command: Command, closed: Callable[[], bool]) -> None:
        """`closed`: whether the attempt is not this pod's any more."""
        self._screens = screens
        self._command = command
        self._closed = closed
        self._way: Crossing[Callable[[], None]] | None = None

    def open(self, way: Crossing[Callable[[], None]]) -> None:
        """From here on there is a way to the pod's loop."""
        self._way = way

    def attempt(self) -> int:
        """See Screen."""
        return self._screens.attempt(self._command)

    def show(self, shown: Shown) -> None:
        """See Screen."""
        if self._way is not None:
            self._way.put(lambda: None if self._closed() else self._screens.put(self._command, shown))

    def flush(self, step: str, occurrence: int) -> None:
        """See Screen."""
        if self._way is not None:
            self._way.put(lambda: self._screens.flush(self._command, step, occurrence))
