"""A process that asks a model twice for each turn, by litellm alone: `python -m tests.bench.bare_models '<ModelLoad>'`.

What it asks is what the agent of tests.bench.agent_kinds asks: the tool's call first, then with its result. `stream` is
whether the answers come in pieces, as the agent's do, or whole.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec

from actors.models.reached import load as load_litellm
from tests.bench.agent_kinds import ASKED, INSTRUCTIONS, book
from tests.bench.tally import Load, Tally, drive, tell


class ModelLoad(Load):
    """What one process does that asks a model. `target` is the model's server."""

    model: str
    stream: bool


CALL = {"id": "call_1", "type": "function", "function": {"name": "book", "arguments": '{"item":"lamp"}'}}
FIRST: list[dict[str, Any]] = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": ASKED}]
SECOND: list[dict[str, Any]] = [
    *FIRST,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "name": "book", "content": "booked lamp"},
]


async def run(load: ModelLoad) -> Tally:
    """Asks until the measurement is over."""
    litellm = load_litellm()
    tools = [{"type": "function", "function": msgspec.to_builtins(book.spec)}]
    more = {"stream": True, "stream_options": {"include_usage": True}} if load.stream else {}

    async def ask(messages: list[dict[str, Any]]) -> Any:
        answer = await litellm.acompletion(
            model=load.model, messages=messages, tools=tools, api_base=load.target, api_key="none", timeout=60.0,
            num_retries=0, max_retries=0, **more,
        )  # fmt: skip
        if not load.stream:
            return answer.choices[0].message.content
        pieces = []
        async for piece in answer:
            pieces += [choice.delta.content or "" for choice in piece.choices]
        return "".join(pieces)

    async def turn(_: str) -> bool:
        await ask(FIRST)
        return bool(await ask(SECOND))

    await turn("")  # the first call of a process takes seconds
    return await drive(load, [turn] * load.in_flight)


if __name__ == "__main__":
    tell(asyncio.run(run(msgspec.json.decode(sys.argv[1], type=ModelLoad))))
