"""The agent that is measured: a clerk with one tool, whose model calls that once and then says what came of it."""

from __future__ import annotations

from actors.agents import Agent, tool
from actors.models.wire import Message
from actors.sessions.session import Answer, Task, session
from runtime.flow.context import Workflow
from runtime.workflow import workflow

__all__ = ["clerk", "reciter", "session"]

INSTRUCTIONS = "Book what is asked for."
ASKED = "Book a lamp"
SAID_AT_ONCE = 20
"""Messages of the reciter's answer."""


@tool
async def book(item: str) -> str:
    """Books an item."""
    return f"booked {item}"


clerk = Agent(
    "clerk",
    instructions=INSTRUCTIONS,
    tools=[book],
    description="Books furniture.",
    examples=["book a lamp", "book a chair"],
)


@workflow
async def reciter(ctx: Workflow, task: Task) -> Answer:
    """Answers with many messages, and asks no model."""
    said = f"It is booked, and the number of your order is {task.upto}; is there anything else that I can do?"
    return Answer(said, (Message("assistant", said, name="reciter"),) * SAID_AT_ONCE, "reciter")
