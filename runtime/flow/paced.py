"""The requests of a workflow's run: numbered as its code makes them, and answered one at a time.

Whatever a workflow waits for (a step, a signal, a time, another actor's answer) is a request. What came of it is an
entry of the journal, and what is handed to the code is entries, in the order of the log, each when the run is at rest
(runtime.pace). A replay hands over the recorded ones in that same way, and starts nothing: what was under way and is
still wanted when they are all handed over is begun then. So an entry is found by its request's number alone, and its
name and arguments only tell whether the code still is what it was.
"""


from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any

import msgspec

from runtime.arguments import encode_json
from runtime.clock import Clock
from runtime.errors import BadResult, CallFailed, Rejected, StepFailed
from runtime.failure import failure_of, text_of
from runtime.flow import divergence
from runtime.flow.delivery import PATCHED, Delivery
from runtime.flow.saga import ContinueAsNew
from runtime.flow.sending import Sender
from runtime.flow.state import CONTINUED, PUBLISHED, Continued, RunState
from runtime.policy import RetryPolicy
from runtime.recorder import Entry, check_step_name
from schemas.wire import Failure

_log = logging.getLogger("troupe.executions")

ASKED = "$ask "
"""Begins the names of entries that are answers."""

Pause = Callable[[float], Awaitable[None]]

THREE_TIMES = RetryPolicy()
"""Of steps for which nothing else was said."""


class PacedSteps(Delivery):
    """What a workflow may ask for. For the arguments that are not here see Delivery.

    Args:
        pause: waits so many seconds.
        retry: of steps that name no policy of their own.
    """

    def __init__(
        self,
        actor: str,
        key: str,
        run: str,
        attempt: int,
        keeper: Sender,
        recorded: Sequence[Entry] = (),
        *,
        began: float,
        clock: Clock,
        pause: Pause = asyncio.sleep,
        retry: RetryPolicy | None = None,
        heard: int = 0,
    ) -> None:
        super().__init__(actor, key, run, attempt, keeper, recorded, began=began, clock=clock)
        self._heard = heard
        self._pause = pause
        self._retry = retry or THREE_TIMES
        self._patched: dict[str, bool] = {}
        if self.journal:
            marks = [entry.step for entry in self.journal if entry.step.startswith(PATCHED)]
            self._patched = {mark.removeprefix(PATCHED): True for mark in marks}
        self.pausing = 0
        """Steps that wait for their next attempt."""

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        returns: Any,
        heartbeat_timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """See Workflow.step."""
        check_step_name(name)
        policy = retry or self._retry
        carry = partial(self._try, name, fn, args, kwargs, returns, policy, timeout_s, heartbeat_timeout_s)
        return self._value(await self._entry(name, carry, (args, kwargs)), returns)

    async def _try(
        self,
        name: str,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        returns: Any,
        policy: RetryPolicy,
        timeout_s: float | None,
        heartbeat_timeout_s: float | None,
        occurrence: int,
        entry: Entry,
    ) -> None:
        """Runs a step's function as often as `policy` allows; what came of it goes into the entry."""
        ends = inf if policy.max_elapsed_s is None else self._clock.now() + policy.max_elapsed_s
        for attempt in range(1, policy.max_attempts + 1):
            try:
                taking = self._take(name, occurrence, fn, args, kwargs, returns, entry, heartbeat_timeout_s)
                if timeout_s is None:
                    await taking
                else:
                    async with asyncio.timeout(timeout_s):
                        await taking
                return
            except BadResult:
                raise
            except Exception as error:  # noqa: BLE001  # whatever the step's function raises is what its policy is for
                delay = policy.wait_s(error, attempt, self._clock.random())
                late = self._clock.now() + delay > ends
                if attempt == policy.max_attempts or late or policy.gives_up(error):
                    text = f"step {name!r} failed, on attempt {attempt} the last time: {text_of(error)}"
                    entry.failed = Failure("handler_failed", text)
                    return
                _log.warning("attempt %d of step %r of %s failed: %s", attempt, name, self._actor, text_of(error))
                self.pausing += 1
                try:
                    await self._pause(delay)
                finally:
                    self.pausing -= 1

    async def ask(self, name: str, asked: Any, fn: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer of another actor, as JSON, which `fn` gets. Raises Rejected and CallFailed, which are recorded."""

        async def carry(_: int, entry: Entry) -> None:
            try:
                entry.result = msgspec.Raw(await fn())
            except Rejected as error:
                entry.rejected = failure_of(error, self._actor)
            except CallFailed as error:
                message = str(error).removeprefix(f"{error.code}: ")
                entry.failed = Failure(error.code, message, error.path, error.details)

        entry = await self._entry(ASKED + name, carry, asked)
        self._value(entry, Any)
        return bytes(entry.result)

    def publish(self, name: str, value: Any) -> None:
        """See Workflow.publish."""
        self._check(PUBLISHED + name)
        number, occurrence = self._count(PUBLISHED + name)
        encoded = self._encoded(PUBLISHED + name, value)
        digest = divergence.digest_of(value)
        if self._recorded(number, PUBLISHED + name, value, digest) is None:
            entry = Entry(self._run, PUBLISHED + name, occurrence, self._attempt, number=number, digest=digest)
            entry.result = encoded
            self._note(entry)

    def patched(self, id: str) -> bool:
        """See Workflow.patched."""
        if id not in self._patched:
            self._patched[id] = not self._history
            if not self._history:
                self._note(Entry(self._run, PATCHED + id, 0, self._attempt))
        return self._patched[id]

    async def due(self, name: str, seconds: float, now: Callable[[], float]) -> float:
        """See Recorder.due: counted from a time that is the same in a replay."""
        return self.now + seconds

    async def pass_time(self, name: str, seconds: float, wait: Callable[[], Awaitable[None]]) -> None:
        """See Recorder.pass_time: that the time has come is an entry."""
        await self.wait(name, wait, seconds)

    async def continue_as_new(self, again: ContinueAsNew, heard: int, kept: list[int]) -> None:
        """Records that the run goes on as new. Raises Cancelled when it is to be cancelled.

        Where nothing was heard since it did so last, what was heard before that is not to be heard again.
        """
        if self.to_be_told:
            raise self._cancelled()
        self._complete = True
        args = self._encoded("continue_as_new", again.given)
        entry = Entry(self._run, CONTINUED, 0, self._attempt, at=int(self._clock.now() * 1000))
        entry.result = msgspec.Raw(encode_json(Continued(args, max(heard, self._heard), kept)))
        await self._keeper.keep(entry)

    def _value(self, entry: Entry, returns: Any) -> Any:
        failed = entry.failed
        if failed is None:
            return super()._value(entry, returns)
        if entry.step.startswith(ASKED):
            raise CallFailed(failed.code, failed.message, path=failed.path, details=failed.details)
        raise StepFailed(failed.message)


def paced_steps(
    state: RunState,
    actor: str,
    key: str,
    run: str,
    attempt: int,
    keeper: Sender,
    recorded: Sequence[Entry],
    clock: Clock,
    retry: RetryPolicy | None,
    pause: Pause = asyncio.sleep,
) -> PacedSteps:
    """The requests of an attempt at the run that `state` tells of."""
    own = f"{key}/{state.generation}" if state.generation else key
    began = state.began / 1000
    return PacedSteps(
        actor, own, run, attempt, keeper, recorded,
        began=began, clock=clock, pause=pause, retry=retry, heard=state.heard,
    )  # fmt: skip
