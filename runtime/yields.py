"""What a generator yields: values of its run, committed in batches while it goes on, each once and in order.

    @function
    async def tokens(prompt: str) -> AsyncIterator[str]:
        async for token in model(prompt):
            yield token

Each batch is an entry of the run's journal (`troupe.step` with the step `$yield`), whose `occurrence` is the number of
its first value, and whose result is the list of them. So readers of the actor's log, and those of the session's
stream, get the values in order, on whatever pod the run goes on. An attempt that starts anew yields from its beginning:
what was committed before is dropped, unless the handler asks `ctx.yielded()` and goes on behind that by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from runtime.journal import STEP, Entry, Keeper
from runtime.kind import SYSTEM_EVENT_PREFIX
from runtime.recorder import Nobody
from schemas.wire import LogEvent

YIELD = "$yield"
"""The name of the entries."""

MOST_VALUES = 200
MOST_BYTES = 262_144
"""A batch has no more values or, but for one that is larger, bytes; a generator that is faster waits."""

_decode_values = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_entry = msgspec.json.Decoder(Entry).decode


def divided(entries: Sequence[Entry]) -> tuple[list[Entry], int]:
    """The entries of steps, and how many values were yielded beside them."""
    steps = [entry for entry in entries if entry.step != YIELD]
    ends = [entry.occurrence + len(_decode_values(entry.result)) for entry in entries if entry.step == YIELD]
    return steps, max(ends, default=0)


def values_of(events: Iterable[LogEvent], run: str) -> list[tuple[int, msgspec.Raw]]:
    """(number, value as JSON) of what the run of that command has yielded, among events of its actor."""
    found: list[tuple[int, msgspec.Raw]] = []
    for event in events:
        if event.type == SYSTEM_EVENT_PREFIX + STEP and event.command_id == run:
            entry = _decode_entry(event.payload)
            if entry.step == YIELD:
                found += enumerate(_decode_values(entry.result), entry.occurrence)
    return found


class Yields:
    """What one attempt yields; for the event loop of handlers. `known`: values of former attempts."""

    def __init__(self, run: str, attempt: int, keeper: Keeper, known: int) -> None:
        self._run = run
        self._attempt = attempt
        self._keeper = keeper
        self._dropping = self.known = self.kept = known
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._taken = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._ended = False

    def release(self) -> None:
        """See Recorder.release."""
        self._keeper = Nobody()

    def resume(self) -> int:
        """See Turn.yielded."""
        self._dropping = 0
        return self.known

    async def put(self, value: bytes) -> None:
        """Takes a value, as JSON; waits while too many are not committed. Raises what committing raises."""
        self._check()
        if self._dropping:
            self._dropping -= 1
            return
        while self._is_full(len(value)):
            self._taken.clear()
            await self._go_on()
            await self._taken.wait()
            self._check()
        self._waiting.append(value)
        self._bytes += len(value)
        await self._go_on()

    async def flush(self) -> int:
        """Returns when all values are committed, with their number. Raises what committing raises."""
        while self._keeping is not None or self._waiting:
            await self._go_on()
            if self._keeping is not None:
                await asyncio.wait([self._keeping])
        return self.kept

    def end(self) -> None:
        """Takes no more: the attempt is over, though its thread may not have heard of it."""
        self._ended = True

    def _check(self) -> None:
        if self._ended:
            raise asyncio.CancelledError("the attempt is over")

    def _is_full(self, more: int) -> bool:
        return len(self._waiting) >= MOST_VALUES or (bool(self._waiting) and self._bytes + more > MOST_BYTES)

    async def _go_on(self) -> None:
        """Commits what waits, one batch at a time: what comes meanwhile is the next one."""
        if self._keeping is not None and self._keeping.done():
            done, self._keeping = self._keeping, None
            await done  # raises what it raised
        if self._keeping is None and self._waiting:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting, self._bytes = self._waiting, [], 0
                self._taken.set()
                values = msgspec.Raw(b"[" + b",".join(batch) + b"]")
                # Beside the steps: where between them a batch ends differs from attempt to attempt.
                await self._keeper.keep(Entry(self._run, YIELD, self.kept, self._attempt, True, values))
                self.kept += len(batch)
        finally:
            self._taken.set()
