"""One answer of a model on its way, as AG-UI events: what has been said of it so far, and what makes that void."""

from __future__ import annotations

from typing import Any

from schemas.shown import CallPiece, Delta, Said

Event = dict[str, Any]
"""An AG-UI event, as its JSON."""


class Call:
    """A tool call of an answer, as far as it was shown."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.name = ""
        self.arguments = ""
        self.shown = self.open = False


class Answering:
    """What is shown of one answer. Each method gives the events that follow.

    Args:
        id: of its message; what supersedes it has another one.
        marks: what each event of it has in addition.
    """

    def __init__(self, id: str, name: str, marks: Event) -> None:
        self._first = id
        self._version = 1
        self.id = id
        self.agent = name
        self.attempt = 0
        self.settled = False
        self._marks = marks
        self._next = 0
        self._clear()

    def _clear(self) -> None:
        self.text = self.reasoning = ""
        self.calls: list[Call] = []
        self._speaking = self._reasoning = self._lost = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is shown."""
        return not (self.text or self.reasoning or self.shown)

    @property
    def shown(self) -> list[Call]:
        """The calls of it that are shown."""
        return [call for call in self.calls if call.shown]

    def take(self, attempt: int, first: int, deltas: list[Delta]) -> tuple[list[Event], bool]:
        """Pieces of an attempt; and whether they have made void what was shown before."""
        if self.settled or attempt < self.attempt:
            return [], False
        events: list[Event] = []
        void = False
        if attempt > self.attempt:
            void = not self.is_empty
            events += self.supersede("another attempt was begun")
            self.attempt, self._next, self._lost = attempt, 0, False
        if first > self._next:
            self._lost = True  # the whole answer will say what is missing
        if self._lost:
            return events, void
        for delta in deltas[self._next - first :]:
            self._next += 1
            events += self._piece(delta)
        return events, void

    def supersede(self, why: str) -> list[Event]:
        """What was shown is void: it is ended, and what comes has another id."""
        if self.is_empty:
            return []
        value: Event = {"messageIds": [self.id], "toolCallIds": [call.id for call in self.shown], "reason": why}
        events = self._end()
        events.append({"type": "CUSTOM", "name": "superseded", "value": value, **self._marks})
        self._version += 1
        self.id = f"{self._first}.v{self._version}"
        self._clear()
        return events

    def settle(self, said: Said) -> tuple[list[Event], bool]:
        """The whole answer is known; and whether that has made void what was shown."""
        fits = said.content.startswith(self.text) and len(self.shown) <= len(said.tool_calls)
        for call, whole in zip(self.calls, said.tool_calls, strict=False):
            fits &= not call.shown or (call.name == whole.name and whole.arguments.startswith(call.arguments))
        events = [] if fits else self.supersede("the whole answer is another one")
        events += self._piece(Delta(text=said.content[len(self.text) :]))
        for index, whole in enumerate(said.tool_calls):
            call = self._at(index)
            call.name = whole.name
            events += self._open(call)
            if rest := whole.arguments[len(call.arguments) :]:
                events += self._call(CallPiece(index, arguments=rest))
        self.settled = True
        return events + self._end(), not fits

    def messages(self) -> list[Event]:
        """It as messages, as far as it is shown."""
        found: list[Event] = []
        if self.reasoning:
            found.append({"id": f"{self.id}.reasoning", "role": "reasoning", "content": self.reasoning, **self._marks})
        if self.text or self.shown:
            message: Event = {"id": self.id, "role": "assistant", "content": self.text, **self._marks}
            if self.agent:
                message["name"] = self.agent
            if self.shown:
                message["toolCalls"] = [
                    {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                    for call in self.shown
                ]
            found.append(message)
        return found

    def _piece(self, delta: Delta) -> list[Event]:
        events: list[Event] = []
        if delta.reasoning:
            id = f"{self.id}.reasoning"
            if not self._reasoning:
                self._reasoning = True
                events.append(self._event("REASONING_START", messageId=id))
                events.append(self._event("REASONING_MESSAGE_START", messageId=id, role="reasoning"))
            self.reasoning += delta.reasoning
            events.append(self._event("REASONING_MESSAGE_CONTENT", messageId=id, delta=delta.reasoning))
        if delta.text:
            events += self._end_reasoning()
            if not self._speaking:
                self._speaking = True
                named = {"name": self.agent} if self.agent else {}
                events.append(self._event("TEXT_MESSAGE_START", messageId=self.id, role="assistant", **named))
            self.text += delta.text
            events.append(self._event("TEXT_MESSAGE_CONTENT", messageId=self.id, delta=delta.text))
        if delta.call is not None:
            events += self._end_reasoning() + self._call(delta.call)
        return events

    def _call(self, piece: CallPiece) -> list[Event]:
        if not 0 <= piece.index <= len(self.calls):
            return []  # a model numbers its calls as it likes: the whole answer has them in order
        call = self._at(piece.index)
        if not call.shown:
            call.name += piece.name
        if not piece.arguments:
            return []  # a name in pieces is not known to be whole before the arguments begin
        call.arguments += piece.arguments
        return [*self._open(call), self._event("TOOL_CALL_ARGS", toolCallId=call.id, delta=piece.arguments)]

    def _at(self, index: int) -> Call:
        while len(self.calls) <= index:
            self.calls.append(Call(f"{self.id}.t{len(self.calls) + 1}"))
        return self.calls[index]

    def _open(self, call: Call) -> list[Event]:
        if call.shown:
            return []
        call.shown = call.open = True
        return [self._event("TOOL_CALL_START", toolCallId=call.id, toolCallName=call.name, parentMessageId=self.id)]

    def _end_reasoning(self) -> list[Event]:
        if not self._reasoning:
            return []
        self._reasoning = False
        id = f"{self.id}.reasoning"
        return [self._event("REASONING_MESSAGE_END", messageId=id), self._event("REASONING_END", messageId=id)]

    def _end(self) -> list[Event]:
        events = self._end_reasoning()
        if self._speaking:
            self._speaking = False
            events.append(self._event("TEXT_MESSAGE_END", messageId=self.id))
        for call in self.calls:
            if call.open:
                call.open = False
                events.append(self._event("TOOL_CALL_END", toolCallId=call.id))
        return events

    def _event(self, type: str, **fields: Any) -> Event:
        return {"type": type, **fields, **self._marks}
