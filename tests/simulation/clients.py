"""What one client does: each operation until it is answered, and what is known of it then."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.client import Client
from runtime.client.envelope import PLAIN, Envelope
from runtime.client.runs import Run
from runtime.client.starting import Begun, say
from runtime.errors import CallFailed, NotConnected, Rejected
from schemas import control
from schemas.address import actor_id
from schemas.tokens import parse_token
from schemas.wire import Reply
from tests.simulation.errands import WORDS, came_of
from tests.simulation.program import COUNTED_FROM, Op, Round

if TYPE_CHECKING:
    from tests.simulation.history import History

ASK_S = 6.0
PAUSE_S = 0.1
ROUND_S = 0.3


@dataclasses.dataclass(slots=True)
class Done:
    """What a client knows of an operation: its reply, or None for one that was told."""

    op: Op
    id: str
    reply: Reply | None


@dataclasses.dataclass(slots=True)
class Told:
    """What a run was told, and the log has acknowledged: `what` is the event's name, `answer` an update's.

    `run` is the id of its command, where that is not what begins it.
    """

    key: str
    """The run's; it has one run."""
    run: str | None
    what: str
    id: str
    answer: Any


@dataclasses.dataclass(slots=True)
class Look:
    """A query's answer. `least` is the sequence that its client knew to be committed before it asked."""

    key: str
    least: int
    reply: Reply
    committed: int
    certain: bool
    """Whether the log was one and the same all the while, and every pod can have heard which."""


class Work:
    """A client at work."""

    def __init__(self, history: History, client: Client) -> None:
        self._history = history
        self._client = client

    async def run(self, rounds: list[Round]) -> None:
        """Round by round."""
        await self._client.open()
        for pause_s, ops in rounds:
            if pause_s:
                await asyncio.sleep(pause_s)
            # The next round begins when most of this one is done: what waits long must not hold up the rest.
            doing = [asyncio.ensure_future(self._perform(op)) for op in ops]
            self._history.working += len(doing)
            for one in doing:
                one.add_done_callback(self._performed)
            await asyncio.wait(doing, timeout=ROUND_S)
        self._history.working -= 1

    def _performed(self, task: asyncio.Task[None]) -> None:
        self._history.working -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._history.problems.append(f"an operation ended with {error!r}")

    async def _direct(self, op: Op) -> None:
        """Asks for a run, and tells it what it waits for, one after the other, until it has ended."""
        body = msgspec.json.encode(op.args)
        assert op.id is not None
        asked = asyncio.ensure_future(self._perform(dataclasses.replace(op, how="ask")))
        run = self._client.run_of(op.kind, op.key, op.method, body, op.id)
        for number in range(_words(op)):
            send = partial(run.signal, "word", f"{op.id}-{number}", timeout_s=ASK_S)
            await self._say(asked, op, "signal", f"{op.id}-word{number}", send)
        if op.how == "cancel":
            await self._say(asked, op, "cancel", f"{op.id}-cancel", partial(run.cancel, "enough", timeout_s=ASK_S))
        elif op.how == "end":
            await self._say(asked, op, "terminate", f"{op.id}-end", partial(run.terminate, "enough", timeout_s=ASK_S))
        elif op.kind == "clerk":
            send = partial(run.update, "count", COUNTED_FROM, type=int, timeout_s=ASK_S)
            await self._say(asked, op, "update", f"{op.id}-count", send)
        await asked

    async def _say(self, asked: asyncio.Future[None], op: Op, what: str, id: str, send: Any) -> None:
        tries = 0
        while not asked.done():
            try:
                answer = await send(id=f"{id}-{tries}")
            except (CallFailed, NotConnected) as error:
                # A refusal is recorded under its id: once the run is there, it is told under another one.
                tries += isinstance(error, CallFailed) and error.code == "not_running"
                await asyncio.sleep(PAUSE_S)
            else:
                self._history.scheduler.say(f"client hears that {what} {id}-{tries} of {op.key} is known: {answer}")
                self._history.told.append(Told(op.key, op.id, what, f"{id}-{tries}", answer))
                return

    async def _begin(self, op: Op) -> None:
        """Says a run's words, the first of which starts it, and waits for what comes of it."""
        assert op.id is not None
        run: str | None = None
        for number in range(max(_words(op), 1)):
            begun = await self._start(op, number)
            if begun is None:
                break
            if run is None:
                run = begun.run
            elif begun.run != run:
                self._history.problems.append(f"{op.key} has a second run, {begun.run}, begun by word {number}")
        if run is None:
            self._history.problems.append(f"{op.key} was not begun: it says that it has had a run")
            return
        while not (status := await self._status(op, run)):
            await asyncio.sleep(PAUSE_S)
        place = actor_id("default", op.kind, op.key), run
        if all(place not in log for log in (self._history.store.inbox, *[p.inbox for p in self._history.store.past])):
            self._history.problems.append(f"run {run} of {op.key} is said to be {status}, which is not committed")
        self._history.done.append(Done(op, run, None))

    async def _start(self, op: Op, number: int) -> Begun | None:
        """A signal with start; None when the run has ended by then."""
        start = control.Start("word", f"{op.id}-{number}", op.args if number == 0 else None)
        id = op.id if number == 0 else f"{op.id}-start{number}"
        while True:
            try:
                begun = await say(self._client, op.kind, op.key, start, id, ASK_S, PLAIN)
            except Rejected:
                return None
            except (CallFailed, NotConnected) as error:
                self._history.scheduler.say(f"client starts {op.key} again ({id}): {error}")
                await asyncio.sleep(PAUSE_S)
            else:
                self._history.scheduler.say(f"client hears that {op.key} has word {number}: {begun}")
                assert id is not None
                self._history.told.append(Told(op.key, None, "signal", id, None))
                return begun

    async def _status(self, op: Op, run: str) -> str | None:
        """How a run has ended; None while it goes on, or nobody says."""
        try:
            status = await Run(self._client, op.kind, op.key, run).settled(ASK_S)
        except (CallFailed, NotConnected) as error:
            self._history.scheduler.say(f"client asks of {run} again: {error}")
            return None
        return status.status if status.settled else None

    async def _perform(self, op: Op) -> None:
        if op.how in ("run", "cancel", "end", "late"):
            await self._direct(op)
            return
        if op.how == "begin":
            await self._begin(op)
            return
        body = msgspec.json.encode(op.args)
        envelope = PLAIN
        if op.session is not None or op.within_s is not None:
            envelope = Envelope(session=op.session, run_timeout_s=op.within_s)
        id = op.id
        while True:
            try:
                if op.how == "query":
                    await self._look(op)
                elif op.how == "tell":
                    assert op.id is not None
                    tell = partial(self._client.tell, op.kind, op.key, op.method, op.args, id=op.id, timeout_s=ASK_S)
                    await (tell() if op.session is None else tell(session=op.session))
                    self._history.done.append(Done(op, op.id, None))
                else:
                    call = self._client.call
                    ask = partial(call, op.kind, op.key, op.method, body, timeout_s=ASK_S, envelope=envelope)
                    self._answered(op, await ask(id=id))
                    if op.how == "ask again":
                        self._answered(op, await ask(id=op.id))
                return
            except (CallFailed, NotConnected) as error:
                if self._history.scheduler.trace is not None:
                    self._history.scheduler.say(f"client tries {op.method} {op.key} {op.id} again: {error}")
                if id is None and isinstance(error, CallFailed) and error.details:
                    id = error.details["id"]  # as the error says: ask again with its id
                await asyncio.sleep(PAUSE_S)

    def _answered(self, op: Op, reply: Reply) -> None:
        """A reply has arrived: what it says must be in the log by now."""
        actor = actor_id("default", op.kind, op.key)
        if self._history.scheduler.trace is not None:
            self._history.scheduler.say(f"client hears of {op.method} {op.key} {reply.id}: {reply.seq} {reply.error}")
        place = (actor, reply.id)
        entry = self._history.store.inbox.get(place)
        if entry is None and all(place not in past.inbox for past in self._history.store.past):
            self._history.problems.append(f"{op.method} of {op.key} ({reply.id}) was answered before it was committed")
        if entry is not None and entry.seq == reply.seq:
            self._history.known[actor] = max(self._history.known.get(actor, 0), reply.seq)
        self._history.done.append(Done(op, reply.id, reply))

    async def _look(self, op: Op) -> None:
        actor = actor_id("default", op.kind, op.key)
        least, certain = self._history.known.get(actor, 0), self._history.scheduler.now > self._history.uncertain_until
        pasts = len(self._history.store.past)
        reply = await self._client.read(op.kind, op.key, op.method, b"", timeout_s=ASK_S, attempt_s=1.0)
        certain = certain and pasts == len(self._history.store.past)
        look = Look(op.key, least, reply, len(self._history.store.events.get(actor, ())), certain)
        if certain:
            self._history.known[actor] = max(self._history.known.get(actor, 0), reply.seq)
        self._history.looks.append(look)


async def complete(history: History, client: Client, place: str, token: str) -> None:
    """Says what came of a place, by its token, until that is in the log or nobody wants to know."""
    found = parse_token(token)
    while True:
        try:
            await client.complete(token, came_of(place), timeout_s=ASK_S)
        except Rejected as error:
            history.problems.append(f"the token of {place} is refused: {error}")
            return
        except (CallFailed, NotConnected) as error:
            if any(done.op.key == found.key for done in history.done):
                return
            history.scheduler.say(f"somebody says again what came of {place}: {error}")
            await asyncio.sleep(PAUSE_S)
        else:
            history.scheduler.say(f"it is known what came of {place}")
            history.told.append(Told(found.key, found.run, "signal", found.command_id, None))
            return


def _words(op: Op) -> int:
    """How many words a run may take."""
    return int(op.args["words"]) if op.kind == "clerk" else sum(item in WORDS for item in op.args["script"])
