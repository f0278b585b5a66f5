"""What a model was told, read from the log: the prompt of a recorded call, made again from where its parts are."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from actors.models.wire import Message
from actors.prompts.record import Prompt, Told, remade
from actors.sessions.reading import SCAN, lines_of, place_of
from actors.sessions.session import Began, Session, session
from runtime import Rejected, Turn
from runtime.journal import STEP, Entry
from runtime.kind import SYSTEM_EVENT_PREFIX
from runtime.reading import Reading
from schemas.conversation import run_key

MODEL_STEP = "model"
"""The name of the steps of agents that ask a model."""


class Sent(Struct, frozen=True, omit_defaults=True):
    """What a model was sent in a call of a run, and what it said.

    Attributes:
        call: from 1; there are `calls`.
        cut: what of the prompt was left out for want of room: slots, and `history`.
        memories: ids of what was recalled, by the memory's key.
        beside: a digest of the tools and of the answer's schema: these are the code's, and not in the log.
    """

    agent: str
    model: str
    call: int
    calls: int
    messages: list[Message]
    said: Message
    cut: tuple[str, ...] = ()
    memories: dict[str, tuple[str, ...]] = {}
    beside: str = ""


class _Thought(Struct):
    """What the step of a model call results in, as far as it is of use here (agents.thinking.Thought)."""

    message: Message
    model: str
    prompt: Prompt


@session.query
async def prompt(state: Session, ctx: Turn, run: str, call: int = 0) -> Sent:
    """The messages that a model was sent in a call of a run, by number; of the last call by default."""
    reading = ctx.reading
    number = next((line.number for line in state.transcript if line.run == run), 1)
    began = await _began(reading, ctx.key, ctx.seq, run, number)
    if began is None:
        raise Rejected(f"session {ctx.key} has no run {run!r}: its messages name theirs (history)")
    thoughts = await _thoughts(reading, began.work.agent, run_key(ctx.key, run), run)
    call = call or len(thoughts)
    if not 0 < call <= len(thoughts):
        raise Rejected(f"run {run!r} has asked its model {len(thoughts)} times: there is no call {call}")
    thought = thoughts[call - 1]
    told = [Told(one.prompt, one.message) for one in thoughts[:call]]
    held = {line.number: line.message for line in state.transcript}
    for first, last in thought.prompt.lines:
        if any(number not in held for number in range(first, last + 1)):
            found = await lines_of(reading, ctx.key, ctx.seq, first - 1, last - first + 1)
            held |= {line.number: line.message for line in found}
    try:
        messages = remade(told, held.get)
    except LookupError as error:
        raise Rejected(f"the prompt of call {call} of run {run!r} cannot be made again: {error}") from error
    record = thought.prompt
    said = msgspec.structs.replace(thought.message, name=record.agent)
    return Sent(
        record.agent, thought.model, call, len(thoughts), messages, said, record.cut, record.memories, record.beside
    )


async def _began(reading: Reading, key: str, seq: int, run: str, number: int) -> Began | None:
    at = await place_of(reading, key, seq, number)
    while at <= seq:
        events = await reading.log(session, key, at, SCAN)
        for stored in events:
            if stored.type == Began.__name__:
                event = msgspec.json.decode(stored.payload, type=Began)
                if event.work.id == run:
                    return event
        if len(events) < SCAN:
            break
        at = events[-1].seq + 1
    return None


async def _thoughts(reading: Reading, kind: str, key: str, run: str) -> list[_Thought]:
    """The model calls of a run, in order."""
    found: list[_Thought] = []
    at = 1
    while events := await reading.log(kind, key, at, SCAN):
        for stored in events:
            if stored.command_id != run or stored.type != SYSTEM_EVENT_PREFIX + STEP:
                continue
            entry = msgspec.json.decode(stored.payload, type=Entry)
            if entry.step == MODEL_STEP and entry.failed is None and entry.rejected is None:
                found.append(msgspec.json.decode(entry.result, type=_Thought))
        at = events[-1].seq + 1
    return found
