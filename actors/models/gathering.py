"""An answer that comes in pieces, gathered as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actors.models.model import Unavailable
from actors.models.wire import CallPiece, Delta, Message, ToolCall


class Gathering:
    """What has come of one answer.

    Attributes:
        name: the model that answers, as it says.
        finish: why it ended; empty until it has.
        counted: what it took, if the answer said so: an object with `prompt_tokens` and `completion_tokens`.
    """

    def __init__(self, model: str) -> None:
        self.name = self._model = model
        self.finish = ""
        self.counted: Any = None
        self._text: list[str] = []
        self._calls: dict[int, _Call] = {}

    def take(self, chunk: Any) -> Iterator[Delta]:
        """One chunk of a chat completion (an object with the attributes that the protocol names); what is new in it."""
        self.name = chunk.model or self.name
        self.counted = getattr(chunk, "usage", None) or self.counted
        for choice in chunk.choices:
            self.finish = choice.finish_reason or self.finish
            if reasoning := getattr(choice.delta, "reasoning_content", None):
                yield Delta(reasoning=reasoning)
            for piece in choice.delta.tool_calls or ():
                yield Delta(call=self._calls.setdefault(piece.index, _Call()).take(piece))
            if choice.delta.content:
                self._text.append(choice.delta.content)
                yield Delta(choice.delta.content)

    def whole(self) -> Message:
        """All of it. Raises Unavailable when it has no end."""
        if not self.finish:
            raise Unavailable(self._model, "broke its answer off")
        tools = tuple(self._calls[index].whole(f"call-{index}") for index in sorted(self._calls))
        return Message("assistant", "".join(self._text), tools)


class _Call:
    """A tool call that comes in pieces."""

    def __init__(self) -> None:
        self.id = self.name = ""
        self.arguments: list[str] = []

    def take(self, piece: Any) -> CallPiece:
        self.id = piece.id or self.id
        function = piece.function
        name, arguments = ("", "") if function is None else (function.name or "", function.arguments or "")
        self.name += name
        self.arguments.append(arguments)
        return CallPiece(piece.index, piece.id or "", name, arguments)

    def whole(self, id: str) -> ToolCall:
        return ToolCall(self.id or id, self.name, "".join(self.arguments) or "{}")
