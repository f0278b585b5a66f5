"""Handlers that know a secret, and give it away in every way they can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from runtime import KeyValue, Rejected, RetryPolicy, Turn, Workflow, function, keyvalue, workflow
from runtime.ambient.secrets import Secret

ONCE = RetryPolicy(max_attempts=1)
TWICE = RetryPolicy(max_attempts=2, first_delay_s=0.01)

box = keyvalue("box", retry=ONCE)


@box.write
async def keep(ctx: KeyValue, text: str = "") -> None:
    """Into the state, and so the log."""
    ctx.set("key", [ctx.secrets["stripe"].reveal()])


@box.write
async def answer(ctx: KeyValue) -> str:
    """To the caller, and so the inbox and the session's stream."""
    return ctx.secrets["stripe"].reveal()


@box.write
async def send(ctx: KeyValue) -> None:
    """To another actor."""
    ctx.tell(box, "other", "keep", {"text": ctx.secrets["stripe"].reveal()})


@box.write
async def ask(ctx: KeyValue) -> None:
    """The same, and waits."""
    await ctx.turn.ask(box, "other", "keep", {"text": ctx.secrets["stripe"].reveal()})


@box.write
async def fail(ctx: KeyValue) -> None:
    """Into a dead letter, and the pod's log with a traceback."""
    raise ValueError(f"401 for {ctx.secrets['stripe'].reveal()}")


@box.write
async def refuse(ctx: KeyValue) -> None:
    """Into a refusal."""
    text = ctx.secrets["stripe"].reveal()
    ctx.log.warning("refusing %s", text, extra={"key_used": text})
    ctx.metrics.count("refused", key=text)
    with ctx.trace_span("refusing", key=text):
        raise Rejected(f"not with {text}", {"text": text})


def use(key: Secret, fails: bool) -> str:
    """What a step does with it."""
    if fails:
        raise ConnectionError(f"https://user:{key.reveal()}@example.org")
    return f"ends in {key.reveal()[-2:]}"


@workflow
async def paying(ctx: Workflow) -> list[Any]:
    """As it should be: the step alone knows it; and a step that fails with it."""
    used = await ctx.step("use", use, ctx.secrets["stripe"], False)
    try:
        await ctx.step("fail", use, ctx.secrets["stripe"], True, retry=TWICE)
    except Exception as error:
        ctx.publish("error", str(error))
        return [used, str(error)]
    return [used]


@workflow(retry=ONCE)
async def leaking(ctx: Workflow) -> None:
    """A step's result."""
    await ctx.step("leak", ctx.secrets["stripe"].reveal)


@function(retry=ONCE)
async def yielding(ctx: Turn) -> AsyncIterator[str]:
    """Values that the caller sees at once."""
    yield "first"
    yield ctx.secrets["stripe"].reveal()
