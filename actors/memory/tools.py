"""Tools by which a model remembers and recalls of its own accord: calls of the memory of its run's user or session."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from actors.memory.items import ITEM_KINDS
from actors.memory.memory import KIND
from actors.memory.recalling import Remembers, owner
from actors.memory.searching import Found
from actors.models.wire import ToolSpec
from actors.prompts.slots import About
from runtime import Rejected, Workflow

_TEXT = {"type": "string"}


class MemoryTool:
    """One of them. Its calls are the run's own: remembering is a command of the memory, recalling a step."""

    def __init__(self, how: Remembers, does: Literal["remember", "recall"]) -> None:
        self._how = how
        self.name = does
        properties: dict[str, Any] = {"text": _TEXT}
        if does == "remember":
            about = "Remembers something of the user for later conversations."
            properties["kind"] = {"type": "string", "enum": list(ITEM_KINDS)}
        else:
            about = "Searches what is known from earlier conversations."
        schema = {"type": "object", "properties": properties, "required": ["text"]}
        self.spec = ToolSpec(does, about, schema)

    async def call(self, ctx: Workflow, about: About, given: dict[str, Any], place: str) -> str:
        """What the model is told of a call. Raises Rejected, which it is told too."""
        text = str(given.get("text", ""))
        keys = [key for scope in self._scopes() if (key := owner(scope, about)) is not None]
        if not keys:
            raise Rejected("nobody's memory is known here: the user has not proved who they are")
        if self.name == "remember":
            stored = {"text": text, "kind": given.get("kind", "semantic")}
            return f"remembered as {await ctx.ask(KIND, keys[0], 'store', stored)}"

        async def recall(_: str, text: str) -> list[str]:
            found = [await ctx.look(KIND, key, "search", {"text": text, "limit": 8}, type=Found) for key in keys]
            return [item.text for one in found for item in one.items]

        known = await ctx.step("recall", recall, place, text, returns=list[str])
        return msgspec.json.encode(known).decode() if known else "nothing is known of that"

    def _scopes(self) -> list[Any]:
        learns = [self._how.learns] if self._how.learns is not None else []
        return [*learns, *[scope for scope in self._how.scopes if scope not in learns]]


def memory_tools(how: Remembers) -> tuple[MemoryTool, ...]:
    """Those that an agent with such a memory has."""
    return (MemoryTool(how, "remember"), MemoryTool(how, "recall")) if how.tools else ()
