"""A research agent that remembers: what it was told and what it has found is there in every later conversation.

    runtime dev examples.research
    runtime actors call library tides note text="It turns every six hours" source="Admiralty"
    runtime ask --agent researcher "Look up the topic with key tides"
    runtime ask --agent researcher "Remember that the harbour floods at springtide"
    runtime ask --agent researcher "What do you recall of the harbour?"

Its memory is its own (`app`): it is the same for everybody who asks it. Works with the built-in offline model, and with
any other that `fleet.yaml` names; with a model for `embed` it also finds what was said in other words.
"""

from __future__ import annotations

from actors.agents import Agent, Limits, hosted
from actors.memory import Remembers
from runtime import KeyValue, Rejected, keyvalue

__all__ = ["library", "researcher"]

library = keyvalue("library")
"""The notes of one topic, by the topic's name."""


@library.write
def note(ctx: KeyValue, text: str, source: str) -> int:
    """Adds a note to a topic, and gives how many it has."""
    notes: list[str] = [*ctx.get("notes", [], type=list[str]), f"{text} ({source})"]
    ctx.set("notes", notes)
    return len(notes)


@library.shared
def notes(ctx: KeyValue) -> list[str]:
    """Looks a topic up in the library."""
    found: list[str] = ctx.get("notes", [], type=list[str])
    if not found:
        raise Rejected(f"the library has nothing on {ctx.key!r}")
    return found


researcher = Agent(
    "researcher",
    description="Researches a topic in the library, and remembers what was found.",
    examples=["look up the topic tides", "what do we know of the harbour", "remember that the mole was built in 1911"],
    instructions="Answer from the library and from what you remember, and name the source of each claim.",
    tools=[hosted(library, "notes", name="look_up_topic")],
    memory=Remembers(scopes=("app",), budget_tokens=600, learns="app"),
    limits=Limits(tokens=50_000),
)
