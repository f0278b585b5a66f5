"""A workflow's run attempt by attempt, without servers: each may die after any entry, and the next one replays."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec

from runtime.clock import ManualClock
from runtime.flow.paced import paced_steps
from runtime.flow.sending import SentInTasks
from runtime.flow.state import RunState
from runtime.kind import Execution
from runtime.mail import SIGNAL, Mail, Message, Said
from runtime.recorder import Entry, entries_of
from runtime.sent import Question
from runtime.turn import Turn
from runtime.workflow import WorkflowKind
from runtime.world_flow import FlowAttempt, VirtualTime, run_to_end
from schemas.address import Address

RUN_ID = "the-run"


class Died(BaseException):
    """The process of an attempt is gone."""


@dataclasses.dataclass
class Flow:
    """One run of a workflow. `entries` is its journal; `signals` are (name, value) said to it from the start."""

    kind: WorkflowKind
    args: bytes = b"{}"
    signals: Sequence[tuple[str, Any]] = ()
    answers: dict[str, Any] = dataclasses.field(default_factory=dict)
    entries: list[Entry] = dataclasses.field(default_factory=list)
    clock: ManualClock = dataclasses.field(default_factory=ManualClock)
    attempts: int = 0
    cancel_after: int | None = None
    """Entries after which the run is told to cancel."""
    turns: dict[str, int] = dataclasses.field(default_factory=dict)
    """Turns of the loop for which the commit of an entry of that name takes; 1 of others."""
    untaken: tuple[int, list[int]] = (0, [])
    """Of the attempt that ended last: see Mail.untaken."""

    def attempt(self, *, dies_after: int | None = None, kind: WorkflowKind | None = None) -> Any:
        """The result of one attempt. It dies when so many entries are kept; `kind`: other code than the run's."""
        method = (kind or self.kind).methods["run"]
        assert isinstance(method, Execution)
        self.attempts += 1
        state = RunState(RUN_ID, 1_700_000_000_000, status="running")
        time = VirtualTime(self.clock)
        address = Address("default", self.kind.name, "the-key")
        keeper = _Keeper(self, dies_after)
        steps = paced_steps(
            state, str(address), "key", RUN_ID, self.attempts, keeper, list(self.entries), self.clock, None, time.pause
        )
        keeper.cancel = lambda: steps.cancel("a test wants it")
        mail = Mail(steps, self.clock.now, time.pause, alone=True)
        for seq, (name, value) in enumerate(self.signals, 1):
            message = Message(RUN_ID, f"signal-{seq}", name, msgspec.Raw(msgspec.json.encode(value)))
            mail.post(Said(seq, SIGNAL, message))
        turn = Turn(address, RUN_ID, 0, self.clock.now(), attempt=self.attempts)
        turn.asks_through(self._answer)
        turn.steps_through(steps, mail)
        payload = method.arguments.decode(self.args)
        attempt = FlowAttempt(lambda: method.run(state, payload, turn), steps, mail, time)

        async def through() -> Any:
            running = asyncio.create_task(attempt.run())

            def die() -> None:
                steps.stop()
                running.cancel()

            keeper.die = die
            keeper.told()
            try:
                return await running
            except asyncio.CancelledError:
                raise Died from None
            finally:
                self.untaken = mail.untaken()

        return msgspec.json.decode(run_to_end(through).result)

    async def _answer(self, question: Question) -> bytes:
        return msgspec.json.encode(self.answers[f"{question.address.kind}.{question.method}"])

    def names(self) -> list[str]:
        """The names of the journal's entries."""
        return [entry.step for entry in self.entries]


class _Keeper(SentInTasks):
    def __init__(self, flow: Flow, dies_after: int | None) -> None:
        self._flow = flow
        self._dies_after = dies_after
        self.die: Any = None
        self.cancel: Any = None

    async def confirm(self) -> None:
        """Nobody else runs it."""

    def told(self) -> None:
        """Cancels the run if it is time to."""
        if self._flow.cancel_after is not None and len(self._flow.entries) >= self._flow.cancel_after:
            self.cancel()

    async def keep(self, entry: Entry) -> None:
        """Commits it, as a log would: encoded, and in the order in which it came."""
        if self._dies_after is not None and len(self._flow.entries) >= self._dies_after:
            self.die()
            await asyncio.Event().wait()
        self._flow.entries += entries_of([msgspec.json.encode(entry).decode()])
        for _ in range(self._flow.turns.get(entry.step, 1)):
            await asyncio.sleep(0)
        self.told()
