"""A workflow's recorded run through other code: what is recorded is handed over, and where that ends, it is stopped.

Nothing is begun: no step, no question, no wait. What the code asks for beyond the record is only looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from runtime.arguments import encode_json
from runtime.clock import ManualClock
from runtime.errors import BadResult, Cancelled, Rejected, StepFailed
from runtime.failure import failure_of, text_of
from runtime.flow import divergence
from runtime.flow.delivery import Request
from runtime.flow.paced import PacedSteps
from runtime.flow.saga import ContinueAsNew
from runtime.flow.sending import SentInTasks
from runtime.flow.state import RunState
from runtime.kind import Execution
from runtime.mail import ANSWERED, Mail
from runtime.pace import place, place_of
from runtime.recorder import Entry
from runtime.replaying.differences import raised_at
from runtime.sent import Question
from runtime.turn import Turn
from schemas.address import Address
from schemas.wire import Failure


class Asked(NamedTuple):
    """A request that the code makes: its number, name and arguments, the place in the code, and the time then (Unix s).

    `says` is what it would record at once, of one that answers an update.
    """

    number: int
    name: str
    given: Any
    at: str
    now: float
    says: Entry | None = None

    @property
    def digest(self) -> int:
        """Of its arguments."""
        return divergence.digest_of(self.given)

    def shown(self) -> dict[str, Any]:
        """As it is told."""
        arguments = divergence.shown(self.given)
        return {"number": self.number, "name": self.name, "arguments": arguments, "digest": hex_of(self.digest)}


class Came(msgspec.Struct, kw_only=True):
    """What a rehearsal came to.

    One of: `result` (JSON), `failure`, `continued` (the arguments as JSON), `error` (what ended it otherwise), or
    `reached`: the record ends here, and the code waits for `asking`.
    """

    result: bytes | None = None
    failure: Failure | None = None
    continued: bytes | None = None
    error: BaseException | None = None
    reached: bool = False
    asking: list[Asked] = []
    recorded: Entry | None = None
    """Of an error: the entry with which what the code asked for (the last of `asking`) does not agree."""
    patched: bool = False
    """Whether it has gone a way behind the record that `ctx.patched` opened to it."""
    noted: list[Entry] = []
    """What it noted beyond the record: ways that it goes, and what it published."""
    at: str = ""


class _Reached(BaseException):
    """The record ends here."""


class Rehearsal(PacedSteps):
    """The requests of a run that is only compared with its record."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.places: dict[int, Asked] = {}
        self.reached = False
        self.asking: list[Asked] = []
        self.went_patched = False
        self.noted: list[Entry] = []
        self.differs: Entry | None = None

    async def _entry(self, name: str, run: Any, asked: Any = None) -> Entry:
        self.places[self._calls + 1] = Asked(self._calls + 1, name, asked, place(), self.now)
        return await super()._entry(name, run, asked)

    def _recorded(self, number: int, name: str, asked: Any, digest: int) -> Entry | None:
        entry = self._numbered.get(number)
        if entry is not None and (entry.step != name or entry.digest != digest):
            self.differs = self.differs or entry
            self.places.setdefault(number, Asked(number, name, asked, place(), self.now))
        return super()._recorded(number, name, asked, digest)

    def patched(self, id: str) -> bool:
        """See PacedSteps.patched."""
        self.went_patched |= id not in self._patched and not self._history
        return super().patched(id)

    def _note(self, entry: Entry, *, hand_over: bool = False) -> None:
        if not hand_over:
            self.noted.append(entry)

    def _begin(self, request: Request) -> None:
        """Nothing is begun."""

    def _go_live(self) -> None:
        self._live = True
        self.reached = bool(self._requests)
        if self.reached:
            self.asking = [self._asked_by(request) for _, request in sorted(self._requests.items())]
            self._break(_Reached())

    def _asked_by(self, request: Request) -> Asked:
        asked = self.places[request.number]
        if not request.name.startswith(ANSWERED):
            return asked
        says = Entry(self._run, request.name, request.occurrence, self._attempt, number=request.number)
        for _ in request.carry(request.occurrence, says).__await__():
            raise AssertionError("to answer an update waits for nothing")
        return asked._replace(says=says)

    @property
    def last(self) -> Asked | None:
        """The request that was made last."""
        return self.places.get(self._calls)

    @property
    def waits_at(self) -> str:
        """Where the run's own task is, as `file:line`."""
        return place_of(self._main)


class _Nowhere(SentInTasks):
    """Keeps nothing."""

    async def confirm(self) -> None:
        """Nobody else runs it."""

    async def keep(self, entry: Entry) -> None:
        """Forgets it."""


async def _nobody(question: Question) -> bytes:
    raise BadResult(f"{question.address} is asked in a rehearsal")


async def rehearse(
    method: Execution, state: RunState, address: Address, args: bytes, entries: Iterable[Entry], turn: Turn
) -> Came:
    """What a workflow's code comes to with this record; in a loop that is a CountingLoop."""
    clock = ManualClock(state.began / 1000)
    own = f"{address}/{state.run}/{state.generation}"
    steps = Rehearsal(
        str(address), own, state.run, turn.attempt, _Nowhere(), list(entries), began=state.began / 1000, clock=clock
    )
    mail = Mail(steps, clock.now)
    turn.asks_through(_nobody)
    turn.steps_through(steps, mail)
    mail.open()
    came = Came()
    try:
        payload = method.arguments.decode(args)
        came.result = (await steps.through(method.run(state, payload, turn))).result
    except _Reached:
        came.reached, came.asking = True, steps.asking
    except ContinueAsNew as again:
        came.continued = encode_json(again.given)
    except (Rejected, StepFailed, Cancelled) as error:
        came.failure = failure_of(error, f"{address}.{method.name} (command {state.run})")
        came.at = raised_at(error)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # whatever the code raises is what is looked for
        came.error, came.recorded = error, steps.differs
        came.at = raised_at(error) or (steps.last.at if steps.last is not None else "") or steps.waits_at
        if steps.differs is not None:
            came.asking = [steps.places[steps.differs.number]]
            came.at = came.asking[0].at
    came.patched, came.noted = steps.went_patched, steps.noted
    return came


def error_text(error: BaseException) -> str:
    """An error of a rehearsal, as it is told."""
    return str(error) if isinstance(error, BadResult) else text_of(error)


def hex_of(digest: int) -> str:
    """A digest of arguments, as it is told."""
    return f"{digest & 0xFFFFFFFF:08x}"
