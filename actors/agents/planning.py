"""What an agent would do, without doing it: its plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from actors.models.wire import ToolSpec
from runtime.arguments import describe

HOW = "Do not answer yet, and call nothing. Plan: which steps would you take, and with which tool each?"


class PlannedStep(Struct, frozen=True, omit_defaults=True):
    """A step that the agent would take. `tool` is empty for what it would do by itself."""

    what: str
    tool: str = ""


class Plan(Struct, frozen=True):
    """The steps in order."""

    steps: tuple[PlannedStep, ...]


def asked_for(instructions: str, tools: Sequence[ToolSpec]) -> str:
    """What a model is told that is to plan."""
    known = "\n".join(f"- {one.name}: {one.description}" for one in tools)
    return "\n\n".join(part for part in (instructions, known and f"Your tools:\n{known}", HOW) if part)


def schema_for(tools: Sequence[ToolSpec]) -> dict[str, Any]:
    """The shape of a plan with these tools."""
    schema = describe(Plan)
    step = schema["$defs"]["PlannedStep"]
    names = ["", *[one.name for one in tools]]
    step["properties"]["tool"] = {"type": "string", "enum": names}
    return schema
