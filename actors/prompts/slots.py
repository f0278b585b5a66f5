"""Parts of a prompt, and which of them are told when there is no room for all.

    support = Agent("support", instructions="Be kind.", slots=[PromptSlot("hours", "We are open 9 to 5.", priority=30)])

The system message is made of slots, in their order; behind it come the conversation's messages. Room is given by
priority, the highest first: the conversation has HISTORY, and takes its newest messages that fit.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.models.fleet import CHARACTERS_A_TOKEN
from actors.models.wire import Message

if TYPE_CHECKING:
    from actors.sessions.transcript import Line

HISTORY = 50
"""The priority of the conversation: slots above it are fitted before it, the others after it."""

A_MESSAGE = 4
"""Tokens of a message beside its text, about."""

Cut = Literal["never", "end", "whole"]
"""What becomes of a slot without room: it is told all the same, as far as there is room, or not at all."""

Count = Callable[[str], int]


class PromptSlot(Struct, frozen=True, omit_defaults=True):
    """A part of the system message."""

    name: str
    text: str
    priority: int = 60
    cut: Cut = "whole"


class About(Struct, frozen=True, omit_defaults=True):
    """What a prompt is for. `text` is what is to be answered, `user` who said it, when that was proved."""

    agent: str
    session: str = ""
    run: str = ""
    text: str = ""
    user: str | None = None


Middleware = Callable[[list[PromptSlot], About], list[PromptSlot] | Awaitable[list[PromptSlot]]]
"""Changes the slots of a prompt before they are fitted. It is called within the step that asks the model."""


class Laid(Struct, frozen=True):
    """A prompt that fits. `cut` names the slots of which something is missing, and `history` where messages are."""

    slots: tuple[PromptSlot, ...]
    lines: tuple[Line, ...]
    cut: tuple[str, ...]

    @property
    def system(self) -> str:
        """The system message; empty when there is none."""
        return "\n\n".join(slot.text for slot in self.slots)


async def through(middleware: Sequence[Middleware], slots: list[PromptSlot], about: About) -> list[PromptSlot]:
    """The slots as they are behind all middleware, in order. Raises what that raises."""
    for one in middleware:
        found = one(slots, about)
        slots = await found if inspect.isawaitable(found) else found
    return slots


def lay(
    slots: Sequence[PromptSlot], lines: Sequence[Line], own: Sequence[Message], tokens: int, count: Count | None = None
) -> Laid:
    """Fits slots and messages into so many tokens. `own` are told in any case, and the last of `lines`.

    `count` counts a text's tokens; by default it is a rule of thumb.
    """
    count = count or by_rule
    room = tokens - sum(_tokens(message, count) for message in own)
    told: dict[str, PromptSlot] = {}
    cut: set[str] = set()
    kept: list[Line] | None = None
    for slot in sorted(slots, key=lambda one: (one.cut != "never", -one.priority)):
        if kept is None and slot.priority <= HISTORY and slot.cut != "never":
            kept, room = _fitting(lines, room, count)
        if not slot.text.strip():
            continue
        fitted = _cut(slot, room, count)
        if fitted is None or fitted.text != slot.text:
            cut.add(slot.name)
        if fitted is not None:
            told[slot.name] = fitted
            room -= count(fitted.text)
    if kept is None:
        kept, room = _fitting(lines, room, count)
    if len(kept) < len(lines):
        cut.add("history")
    ordered = tuple(told[slot.name] for slot in slots if slot.name in told)
    return Laid(ordered, tuple(kept), tuple(sorted(cut)))


def by_rule(text: str) -> int:
    """About how many tokens a text has, by the rule of thumb for Latin scripts."""
    return len(text) // CHARACTERS_A_TOKEN


def counter(model: str, characters: int, tokens: int) -> Count:
    """How the tokens of a prompt of so many characters are counted for a model.

    By litellm's tokenizers, if it is loaded in this process and the prompt may not fit; else by the rule of thumb: it
    takes far less time, and none of the messages is cut.
    """
    litellm = sys.modules.get("litellm")
    if litellm is None or characters // CHARACTERS_A_TOKEN < tokens // 2:
        return by_rule

    def count(text: str) -> int:
        return int(litellm.token_counter(model=model, text=text)) if text else 0

    return count


def _cut(slot: PromptSlot, room: int, count: Count) -> PromptSlot | None:
    if slot.cut == "never" or count(slot.text) <= room:
        return slot
    if slot.cut == "whole" or room <= 0:
        return None
    low, high = 0, len(slot.text)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(slot.text[:middle]) < room else (low, middle)
    text = slot.text[:low].rstrip()
    return replace(slot, text=text + "…") if text else None


def _fitting(lines: Sequence[Line], room: int, count: Count) -> tuple[list[Line], int]:
    """The last lines that have room, beginning with what a person said; the very last in any case."""
    kept: list[Line] = []
    for line in reversed(lines):
        size = _tokens(line.message, count)
        if size > room and kept:
            break
        room -= size
        kept.append(line)
    kept.reverse()
    first = next((at for at, line in enumerate(kept) if line.message.role == "user"), 0)
    return kept[first:], room


def _tokens(message: Message, count: Count) -> int:
    calls = "".join(call.arguments + call.name for call in message.tool_calls)
    return count(message.content) + count(calls) + A_MESSAGE
