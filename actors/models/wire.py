"""What is said to a language model, and what it says: in the form of the chat completions that nearly all take."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from schemas.shown import CallPiece, Delta

__all__ = [
    "Anew", "CallPiece", "Completion", "Delta", "Message", "ModelRequest", "Role", "ToolCall", "ToolSpec", "Usage",
]  # fmt: skip

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(Struct, frozen=True):
    """A tool that the model wants called. `arguments` is JSON text as the model wrote it, which may be none at all."""

    id: str
    name: str
    arguments: str = "{}"


class Message(Struct, frozen=True, omit_defaults=True):
    """One message of a conversation.

    Attributes:
        tool_calls: of the assistant.
        tool_call_id: the call that a message of role `tool` answers.
        name: who says it, where several agents are of one conversation.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


class ToolSpec(Struct, frozen=True):
    """A tool as a model is told of it. `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class ModelRequest(Struct, frozen=True, omit_defaults=True):
    """What a model is asked.

    Attributes:
        json_schema: what its answer is to conform to, when that is JSON.
        max_tokens: of the answer.
    """

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    json_schema: dict[str, Any] | None = None
    temperature: float | None = None
    max_tokens: int | None = None


class Usage(Struct, frozen=True, omit_defaults=True):
    """What an answer took. `cost_usd` is None where nobody knows what the model costs."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None

    def __add__(self, other: Usage) -> Usage:
        known = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            sum(known) if known else None,
        )


class Completion(Struct, frozen=True, omit_defaults=True):
    """A model's answer. `finish` is why it ended: stop, length, tool_calls, content_filter."""

    message: Message
    model: str
    finish: str = "stop"
    usage: Usage = Usage()


class Anew(Struct, frozen=True):
    """What came of an answer so far is void: another model, or another try, begins. `why` says what happened."""

    why: str
