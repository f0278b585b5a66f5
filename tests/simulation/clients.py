"""What one client does: each operation until it is answered, and what is known of it then."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.client import Client
from runtime.client.envelope import PLAIN, Envelope
from runtime.errors import CallFailed, NotConnected
from schemas.address import actor_id
from schemas.wire import Reply
from tests.simulation.errands import WORDS
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
    """What a run was told, and the log has acknowledged: `what` is the event's name, `answer` an update's."""

    run: Op
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
                self._history.told.append(Told(op, what, f"{id}-{tries}", answer))
                return

    async def _perform(self, op: Op) -> None:
        if op.how in ("run", "cancel", "end", "late"):
            await self._direct(op)
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


def _words(op: Op) -> int:
    """How many words a run may take."""
    return int(op.args["words"]) if op.kind == "clerk" else sum(item in WORDS for item in op.args["script"])
