"""What a step that asks a model records of its prompt: where its parts are in the log, and of the rest the text once.

Messages of the session are there by their numbers, the run's own once, with the call that was told them first, and a
slot's text with the first call that it was told in. So what is recorded grows with what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from actors.models.wire import Message, ModelRequest
from actors.prompts.slots import PromptSlot

if TYPE_CHECKING:
    from actors.sessions.transcript import Line


class SlotSaid(Struct, frozen=True, omit_defaults=True):
    """A slot of the system message as it was told; None is as the call before was."""

    name: str
    text: str | None = None


class Prompt(Struct, frozen=True, omit_defaults=True):
    """What a model was told, so that it can be made again.

    Attributes:
        agent: whose call it was: a run goes on as another agent's where one hands off.
        lines: messages of the session, as ranges of numbers from and to.
        own: messages of the run's own that came behind them; `new` are those that no call before was told, but for
            what the model itself said.
        slots: of the system message, in order.
        cut: slots of which something was left out, and `history`.
        memories: ids of what was recalled, by owner.
        beside: a digest of the tools and the schema of the answer, which the code says.
        sent: all messages, where a hook has changed them.
    """

    agent: str = ""
    lines: tuple[tuple[int, int], ...] = ()
    own: int = 0
    new: tuple[Message, ...] = ()
    slots: tuple[SlotSaid, ...] = ()
    cut: tuple[str, ...] = ()
    memories: dict[str, tuple[str, ...]] = {}
    beside: str = ""
    sent: tuple[Message, ...] | None = None


class Known(Struct, frozen=True):
    """What the calls of a run so far have recorded: texts of slots by name, and how many own messages."""

    agent: str = ""
    slots: dict[str, str] = {}
    own: int = 0

    def behind(self, prompt: Prompt) -> Known:
        """What is known behind another call."""
        before = self.slots if prompt.agent == self.agent else {}
        return Known(prompt.agent, {one.name: _text(one, before) for one in prompt.slots}, prompt.own)


def recorded(
    known: Known, agent: str, slots: Sequence[PromptSlot], lines: Sequence[Line], own: Sequence[Message],
    request: ModelRequest, sent: ModelRequest,
) -> Prompt:  # fmt: skip
    """The record of a prompt; `sent` is the request as hooks have left it."""
    before = known.slots if agent == known.agent else {}
    said = tuple(SlotSaid(one.name, None if before.get(one.name) == one.text else one.text) for one in slots)
    new = tuple(message for message in own[known.own :] if message.role != "assistant")
    beside = blake2b(msgspec.json.encode((sent.tools, sent.json_schema)), digest_size=8).hexdigest()
    changed = sent.messages if sent.messages != request.messages else None
    return Prompt(agent, _ranges(lines), len(own), new, said, beside=beside, sent=changed)


class Told(Struct, frozen=True):
    """One model call of a run, as its step has recorded it: what was told, and what the model said."""

    prompt: Prompt
    message: Message


def remade(calls: Sequence[Told], line_of: Callable[[int], Message | None]) -> list[Message]:
    """The messages of the last of these calls, which are all of one run, in order. Raises LookupError.

    `line_of` gives a message of the session by its number.
    """
    known, own = Known(), list[Message]()
    messages: list[Message] = []
    for call in calls:
        own += call.prompt.new
        known = known.behind(call.prompt)
        messages = _messages(call.prompt, known.slots, own, line_of)
        own.append(msgspec.structs.replace(call.message, name=call.prompt.agent))
    return messages


def _messages(
    prompt: Prompt, slots: Mapping[str, str], own: Sequence[Message], line_of: Callable[[int], Message | None]
) -> list[Message]:
    if prompt.sent is not None:
        return list(prompt.sent)
    system = "\n\n".join(slots[one.name] for one in prompt.slots)
    messages = [Message("system", system)] if system else []
    for first, last in prompt.lines:
        for number in range(first, last + 1):
            line = line_of(number)
            if line is None:
                raise LookupError(f"message {number} of the session is not in the log any more")
            messages.append(line)
    return messages + list(own[: prompt.own])


def _text(said: SlotSaid, before: Mapping[str, str]) -> str:
    return before[said.name] if said.text is None else said.text


def _ranges(lines: Sequence[Line]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for line in lines:
        if found and found[-1][1] + 1 == line.number:
            found[-1] = found[-1][0], line.number
        else:
            found.append((line.number, line.number))
    return tuple(found)
