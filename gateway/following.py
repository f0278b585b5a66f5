"""A session's stream as AG-UI events to one reader: from its beginning, behind an id, or for one run alone."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, Literal

import msgspec

from gateway.answering import Event
from gateway.context import Gateway
from gateway.sinks import Sink, batches
from gateway.translating import SESSION, Translator
from runtime.client import Client, StreamReset
from runtime.client.feed import Watcher
from runtime.client.stored import Entry
from runtime.errors import CallFailed, NotConnected
from schemas.shown import Said
from schemas.wire import Fact

HISTORY = 200
"""Messages before a run that a snapshot begins with, at most."""

ENDS = ("RUN_FINISHED", "RUN_ERROR")

_decode_fact = msgspec.json.Decoder(Fact).decode


class Line(msgspec.Struct):
    """A message of a session's history."""

    number: int
    message: Said
    run: str = ""


class Followed:
    """What one reader is shown of a session in AG-UI's form.

    Args:
        before: the messages that came before a run, for a snapshot; by default the session is asked.
        only: the run that the reader is shown, and with whose end this ends; None for all of them, for ever.
    """

    def __init__(
        self, gateway: Gateway, client: Client, session: str, *, before: list[Event] | None = None,
        only: str | None = None,
    ) -> None:  # fmt: skip
        self._gateway = gateway
        self._client = client
        self._session = session
        self._before = before
        self._only = only
        self._translator = Translator(session, says_user=only is None)
        self._run: list[Event] = []
        self._current = ""

    async def reader(self, after: int | Literal["new"], timeout_s: float = 10.0) -> tuple[Watcher, int]:
        """What reads the stream from its beginning, and behind which id the reader of the events goes on.

        Raises CallFailed when the stream does not hold what follows that id.
        """
        if after == 0:
            return await self._gateway.link.watch(self._client, self._session, 0, timeout_s), 0
        try:
            place = await self._gateway.link.watch(self._client, self._session, after, timeout_s)
        except StreamReset as lost:
            raise CallFailed("not_found", _gone(lost), details={"first": lost.first, "last": lost.last}) from lost
        behind = place.position
        await place.close()
        return await self._gateway.link.watch(self._client, self._session, 0, timeout_s), behind

    async def through(self, sink: Sink, reader: Watcher, behind: int, *, joins: bool) -> None:
        """Writes the events behind the id `behind`; one who `joins` is told first what goes on, from its beginning."""
        caught_up = behind == 0
        try:
            async with aclosing(batches(reader, self._gateway.settings.heartbeat_s)) as entries_of:
                async for entries in entries_of:
                    if not entries:
                        await sink.comment("heartbeat")
                    for entry in entries:
                        first = not caught_up and entry.sequence > behind
                        missed = list(self._run) if first and joins else []
                        events = missed + self._translated(entry)
                        if entry.sequence <= behind:
                            continue
                        caught_up = True
                        if events and await self._write(sink, events, entry.sequence):
                            return
        except StreamReset as lost:
            if self._translator.run is not None:
                event: Event = {"type": "RUN_ERROR", "message": _gone(lost), "code": "not_found"}
                await sink.translated([event], None)

    def _translated(self, entry: Entry) -> list[Event]:
        try:
            events = self._translator.take(_decode_fact(entry.body))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return []  # whoever may publish for the tenant may publish anything
        found: list[Event] = []
        for event in events:
            if event["type"] == "RUN_STARTED":
                self._run, self._current = [], event["runId"]
            if self._only in (None, self._current):
                found.append(event)
                self._run.append(event)
            if event["type"] in ENDS:
                self._run = []
                if self._only is None:
                    self._current = ""
        return found

    async def _write(self, sink: Sink, events: list[Event], id: int) -> bool:
        """Whether the run that was asked for has ended with these."""
        for event in events:
            if event["type"] == "MESSAGES_SNAPSHOT" and self._translator.run is not None:
                event["messages"] = [*await self._history(self._translator.run.number), *event["messages"]]
        await sink.translated(events, id)
        return self._only is not None and events[-1]["type"] in ENDS

    async def _history(self, upto: int) -> list[Event]:
        if self._before is not None:
            return self._before
        try:
            asked = {"upto": upto, "limit": HISTORY}
            _, lines = await self._client.query(
                SESSION, self._session, "window", asked, type=tuple[str, list[Line]], timeout_s=5.0
            )
        except (CallFailed, NotConnected):
            return []
        return messages_of(lines)


def messages_of(lines: list[Line]) -> list[Event]:
    """Messages of a session's history, under the ids that they had when they were shown."""
    found: list[Event] = []
    run, answers, calls = "", 0, iter(list[str]())
    for line in lines:
        said: Any = line.message
        if line.run != run:
            run, answers = line.run, 0
        id = f"{line.run}.n{line.number}"
        if said.role == "assistant":
            answers += 1
            id = f"{line.run}.{answers}"
            ids = [f"{id}.t{at}" for at in range(1, len(said.tool_calls) + 1)]
            calls = iter(ids)
            message: Event = {"id": id, "role": "assistant", "content": said.content}
            if said.tool_calls:
                message["toolCalls"] = [
                    {"id": one, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                    for one, call in zip(ids, said.tool_calls, strict=True)
                ]
        elif said.role == "tool":
            call_id = next(calls, f"{id}.call")
            message = {"id": f"{call_id}.result", "role": "tool", "toolCallId": call_id, "content": said.content}
        else:
            first = said.role == "user" and answers == 0 and not any(one["id"] == f"{line.run}.user" for one in found)
            message = {"id": f"{line.run}.user" if first else id, "role": said.role, "content": said.content}
        found.append(message)
    return found


def _gone(lost: StreamReset) -> str:
    what = "is not in the stream any more" if lost.reason == "behind" else "was never in this stream"
    return (
        f"what follows id {lost.after} {what}, which holds {lost.first} to {lost.last}: begin without an id (or with "
        "since=new), and read what was said before from the session (its query `history`)"
    )
