"""What runs of agents show on a session's stream while they go on: the values of progress (see Fact), and what ends it.

A step named `model` shows a `Delta` for each piece of the answer; its result, an event, is read as `Thought`. A run
itself shows a `Note` where something has come of a call.
"""

from __future__ import annotations

from msgspec import Struct

MODEL = "model"
"""The name of the steps in which an agent asks its model; how many came before tells them apart."""


class CallPiece(Struct, frozen=True, omit_defaults=True):
    """A piece of a tool call: `arguments` are to be put together, `id` and `name` come with the first one.

    Attributes:
        index: which of the answer's calls, from 0.
    """

    index: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""


class Delta(Struct, frozen=True, omit_defaults=True):
    """A piece of a model's answer that is on its way: of its text, its reasoning, or a tool call."""

    text: str = ""
    reasoning: str = ""
    call: CallPiece | None = None


class Note(Struct, frozen=True, omit_defaults=True):
    """What came of a tool call, as the model is told it.

    Attributes:
        call: its place in the run: `<number of the model's answer>.<number of the call in it>`, both from 1.
        name: the tool's.
        failed: whether `text` says why it has failed.
        agent: who goes on with the conversation, when it was a hand-off.
    """

    call: str
    name: str
    text: str
    failed: bool = False
    agent: str = ""


class Called(Struct, frozen=True):
    """A call as the model's whole answer has it."""

    name: str
    arguments: str = "{}"
    id: str = ""


class Said(Struct, frozen=True):
    """A message: what of it is shown."""

    role: str
    content: str = ""
    tool_calls: tuple[Called, ...] = ()
    name: str = ""


class Thought(Struct, frozen=True):
    """The result of a step that asked a model: its answer as a whole, and which model it was."""

    message: Said
    model: str
    finish: str
