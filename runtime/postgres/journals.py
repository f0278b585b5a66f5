"""The journals of executions that start anew, many with one question: after a pod's death there are thousands."""

from __future__ import annotations

import asyncio
import dataclasses

from runtime.host.ports import LogUnavailable
from runtime.postgres.queries import query
from runtime.postgres.session import Session

MANY = 256
"""Journals asked for with one question."""

FEW = 64
"""Events of each that come with it; a longer journal is read on by itself."""

PAGE = 1000

Event = tuple[int, str, str]
"""(sequence, type, payload)."""


@dataclasses.dataclass(slots=True, eq=False)
class _Wanted:
    actor: str
    partition: int
    command_id: str
    after: int
    found: asyncio.Future[list[Event]]


class JournalReader:
    """Reads on a session. Whoever asks while a question is under way shares the next one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: list[_Wanted] = []
        self._reading: asyncio.Task[None] | None = None

    async def read(self, actor: str, partition: int, command_id: str, after: int = 0) -> list[Event]:
        """What a command's execution has completed and was told behind a sequence. Raises LogUnavailable."""
        wanted = _Wanted(actor, partition, command_id, after, asyncio.get_running_loop().create_future())
        self._waiting.append(wanted)
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
        events = await wanted.found
        full = len(events) == FEW
        while full:
            more = await self._page(wanted, events[-1][0])
            events += more
            full = len(more) == PAGE
        return events

    async def _read(self) -> None:
        await asyncio.sleep(0)  # those who ask in the same turn of the loop
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:MANY], self._waiting[MANY:]
                await self._answer(asked)
        finally:
            self._reading = None

    async def _answer(self, asked: list[_Wanted]) -> None:
        try:
            answers = await self._several(asked)
        except LogUnavailable as error:
            for wanted in asked:
                if not wanted.found.done():  # who asked may be gone
                    wanted.found.set_exception(error)
        else:
            for wanted, events in zip(asked, answers, strict=True):
                if not wanted.found.done():
                    wanted.found.set_result(events)

    async def _several(self, asked: list[_Wanted]) -> list[list[Event]]:
        parameters = {
            "actors": [wanted.actor for wanted in asked],
            "partitions": [wanted.partition for wanted in asked],
            "commands": [wanted.command_id for wanted in asked],
            "afters": [wanted.after for wanted in asked],
            "limit": FEW,
        }
        answers: list[list[Event]] = [[] for _ in asked]
        for number, seq, type_, payload in await self._session.run(query("run_journals"), parameters):
            answers[number - 1].append((seq, type_, payload))
        return answers

    async def _page(self, wanted: _Wanted, after: int) -> list[Event]:
        """The next events behind a sequence."""
        parameters = {
            "actor": wanted.actor, "partition": wanted.partition, "command_id": wanted.command_id, "after": after,
            "limit": PAGE,
        }  # fmt: skip
        return [(row[0], row[1], row[2]) for row in await self._session.run(query("run_journal"), parameters)]
