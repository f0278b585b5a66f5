"""Talking to agents from Python: answers, answers on their way, plans.

    async with await Client.connect() as client:
        talk = Talk(client, "desk", session="s1")
        answer = await talk.run("Where is my order?")
        async for shown in talk.stream("And the other one?"):
            if isinstance(shown, Piece): print(shown.text, end="")
        plan = await talk.plan("Refund both.")

A message with an `id` is said once, however often it is sent; who sends it again gets the same answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import msgspec
from msgspec import Struct

from actors.agents.planning import Plan
from actors.sessions.session import Answer, Heard, Status, Task
from runtime import CallFailed
from runtime.client import Client, Run
from runtime.kind import SYSTEM_EVENT_PREFIX, Kind
from runtime.recorder import STEP, Entry
from schemas.conversation import KIND as SESSION
from schemas.conversation import WhenBusy, run_key
from schemas.shown import MODEL, Delta, Note, Thought
from schemas.wire import Fact

PAUSE_S = 0.1
LAST_S = 2.0
"""How long the last of what a run has shown is waited for, once its answer is there."""

ENDED = SYSTEM_EVENT_PREFIX + "ended"
STEPPED = SYSTEM_EVENT_PREFIX + STEP


class Piece(Struct, frozen=True):
    """A piece of what a model says, or thinks."""

    text: str
    thinking: bool = False


class Void(Struct, frozen=True):
    """The pieces since the last Calling are void: the model is asked again, or another one."""


class Calling(Struct, frozen=True):
    """The model wants a tool called. `arguments` is JSON as it wrote it."""

    name: str
    arguments: str


class Result(Struct, frozen=True):
    """What came of a call, as the model is told."""

    name: str
    text: str
    failed: bool = False


class Response(Struct, frozen=True):
    """The end: the answer as a whole."""

    answer: Answer


Shown = Piece | Void | Calling | Result | Response

_fact = msgspec.json.Decoder(Fact).decode
_deltas = msgspec.json.Decoder(list[Delta]).decode
_notes = msgspec.json.Decoder(list[Note]).decode
_entry = msgspec.json.Decoder(Entry).decode


class Talk:
    """One session's conversation with an agent, from this process. `agent` is the kind, or its name."""

    def __init__(self, client: Client, agent: Kind | str, session: str) -> None:
        self._client = client
        self._agent = agent if isinstance(agent, str) else agent.name
        self._session = session

    async def say(self, text: str, *, id: str | None = None, when_busy: WhenBusy = "queue") -> Heard:
        """Says something, and gives which run answers it. Raises Rejected."""
        asked = {"text": text, "agent": self._agent, "when_busy": when_busy}
        return await self._client.ask(  # type: ignore[no-any-return]  # read as `type`
            SESSION, self._session, "say", asked, id=id, type=Heard, session=self._session
        )

    async def run(
        self, text: str, *, id: str | None = None, when_busy: WhenBusy = "queue", timeout_s: float = 600.0
    ) -> Answer:
        """Says something, and gives the answer.

        Raises Rejected and CallFailed as the run ended (`cancelled` when it was), and CallFailed (timeout) when it goes
        on after `timeout_s` seconds: with the same `id` one may go on waiting.
        """
        return await self.answer(await self.say(text, id=id, when_busy=when_busy), timeout_s=timeout_s)

    async def answer(self, heard: Heard, *, timeout_s: float = 600.0) -> Answer:
        """The answer to what was said; see `run`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        run = Run(self._client, heard.agent, run_key(self._session, heard.run), heard.run)
        while (await run.status()).status == "unknown":
            state = await self._client.query(SESSION, self._session, "status", type=Status)
            known = [one.id for one in state.waiting] + ([state.running.id] if state.running is not None else [])
            if heard.run not in known and (await run.status()).status == "unknown":
                raise CallFailed("cancelled", f"message {heard.run} of session {self._session} was taken back")
            if loop.time() >= end:
                raise CallFailed("timeout", f"message {heard.run} still waits after {timeout_s:g} s: ask again later")
            await asyncio.sleep(PAUSE_S)
        return await run.result(Answer, timeout_s=max(end - loop.time(), 0.0))  # type: ignore[no-any-return]  # as given

    async def stream(
        self, text: str, *, id: str | None = None, when_busy: WhenBusy = "queue", timeout_s: float = 600.0
    ) -> AsyncGenerator[Shown, None]:
        """Says something, and gives what comes of it as it comes; the last is the Response. Raises as `run`."""
        reader = await self._client.read_session(self._session, "new")
        answering: asyncio.Future[Answer] | None = None
        try:
            heard = await self.say(text, id=id, when_busy=when_busy)
            answering = asyncio.ensure_future(self.answer(heard, timeout_s=timeout_s))
            seen = _Seen(heard.run)
            while not seen.over:
                following = asyncio.ensure_future(reader.next())
                try:
                    await asyncio.wait({following, answering}, return_when=asyncio.FIRST_COMPLETED)
                    if not following.done():
                        # The answer comes by another way than what was shown before it.
                        await asyncio.wait({following}, timeout=LAST_S)
                    if not following.done():
                        break
                    for shown in seen.of(_fact(following.result().body)):
                        yield shown
                finally:
                    following.cancel()
            yield Response(await answering)
        finally:
            if answering is not None:
                answering.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await answering
            await reader.close()

    async def plan(self, text: str, *, id: str | None = None, timeout_s: float = 600.0) -> Plan:
        """What the agent would do, with all that was said before; nothing is done or said by it. Raises as `run`."""
        id = id or self._client.new_id()
        status = await self._client.query(SESSION, self._session, "status", type=Status)
        task = Task(self._session, status.said, text, plan=True)
        run = await self._client.submit(self._agent, run_key(self._session, id), "run", task, id=id)
        answer = await run.result(Answer, timeout_s=timeout_s)
        return msgspec.convert(answer.output, Plan)

    async def cancel(self, run: str | None = None) -> bool:
        """Cancels the run that is at work, or that of a message that waits; gives whether there was one."""
        return bool(await self._client.ask(SESSION, self._session, "cancel", {"run": run}))


class _Seen:
    """What of a session's facts is shown of one run."""

    def __init__(self, run: str) -> None:
        self.over = False
        self._run = run
        self._attempts: dict[int, int] = {}
        self._open = False

    def of(self, fact: Fact) -> list[Shown]:
        """What a fact shows."""
        if fact.command != self._run or fact.kind == SESSION:
            return []
        if fact.type == "progress":
            return self._progress(fact)
        if fact.type == "event" and fact.name == STEPPED:
            entry = _entry(fact.data)
            if entry.step == MODEL and entry.rejected is None and entry.failed is None:
                self._open = False
                thought = msgspec.json.decode(entry.result, type=Thought)
                return [Calling(call.name, call.arguments) for call in thought.message.tool_calls]
        self.over = fact.type == "event" and fact.name == ENDED
        return []

    def _progress(self, fact: Fact) -> list[Shown]:
        if not fact.name:
            return [Result(note.name, note.text, note.failed) for note in _notes(fact.data)]
        if fact.name != MODEL or fact.attempt < (newest := self._attempts.get(fact.occurrence, fact.attempt)):
            return []
        shown: list[Shown] = [Void()] if fact.attempt > newest and self._open else []
        self._attempts[fact.occurrence] = fact.attempt
        self._open = self._open and not shown
        for delta in _deltas(fact.data):
            if delta.reasoning:
                shown.append(Piece(delta.reasoning, thinking=True))
            if delta.text:
                shown.append(Piece(delta.text))
        self._open = self._open or any(isinstance(one, Piece) for one in shown)
        return shown
