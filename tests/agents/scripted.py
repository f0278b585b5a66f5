"""A model that answers what it was told to."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from actors.models.model import Target
from actors.models.wire import Completion, Delta, Message, ModelRequest, ToolCall, Usage


class Scripted:
    """A model that answers what it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Message] = []
        self.asked: list[ModelRequest] = []

    def says(self, *texts: str) -> None:
        self.answers += [Message("assistant", text) for text in texts]

    def calls(self, name: str, **arguments: Any) -> None:
        call = ToolCall(f"c{len(self.answers)}", name, json.dumps(arguments))
        self.answers.append(Message("assistant", tool_calls=(call,)))

    async def stream(self, target: Target, request: ModelRequest) -> AsyncGenerator[Delta | Completion, None]:
        self.asked.append(request)
        yield Completion(self.answers[len(self.asked) - 1], target.model, usage=Usage(10, 5, 0.01))
