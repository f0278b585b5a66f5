"""Kinds whose handlers wait: for signals, updates, time, and others' answers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from runtime.errors import Rejected
from runtime.function import function
from runtime.keyvalue import KeyValue, keyvalue
from runtime.policy import RetryPolicy
from runtime.turn import Turn
from tests.support.steppers import note, wait_for

POLICY = RetryPolicy(max_attempts=4, first_delay_s=0.02, max_delay_s=0.1)

waiter = keyvalue("waiter", retry=POLICY)
slow = keyvalue("slow", retry=POLICY)
tired = keyvalue("tired", retry=RetryPolicy(max_attempts=3, first_delay_s=3600, max_delay_s=3600))


@waiter.write
async def collect(ctx: KeyValue, path: str, count: int, fails: int = 0) -> list[int]:
    """Takes so many signals, and notes each; fails at the end of so many attempts."""
    values = []
    for _ in range(count):
        value = await ctx.signal("value", returns=int)
        values.append(value)
        await ctx.step("note", note, path, f"value {value}")
    if ctx.turn.attempt <= fails:
        raise ValueError(f"attempt {ctx.turn.attempt} fails")
    ctx.set("values", values)
    return values


@waiter.write
def put(ctx: KeyValue, value: int) -> int:
    """A decision, which waits for its key."""
    ctx.set("put", value)
    return value


@waiter.write
def later(ctx: KeyValue, method: str, args: dict[str, Any], after_s: float) -> None:
    """Does something by a timer."""
    ctx.schedule("later", method, args, after_s=after_s)


@waiter.write
async def patient(ctx: KeyValue, path: str, timeout_s: float) -> str:
    """A signal that may not come, and one that may after that."""
    try:
        await ctx.signal("go", timeout_s=timeout_s)
    except TimeoutError as error:
        note(path, "timed out")
        value = await ctx.signal("go")
        return f"{error}, then {value}"
    return "went"


@waiter.write
async def nap(ctx: KeyValue, path: str, seconds: float) -> str:
    """Sleeps between two steps."""
    await ctx.step("before", note, path, "before")
    await ctx.sleep(seconds)
    return str(await ctx.step("after", note, path, "after"))


@waiter.write
async def journey(ctx: KeyValue, path: str) -> str:
    """Books, then waits for long; cancelled, it takes the booking back, once somebody makes a file."""
    try:
        await ctx.step("book", note, path, "book")
        await ctx.signal("never")
    except asyncio.CancelledError:
        await ctx.step("unbook", note, path, "unbook")
        await wait_for(f"{path}.go")
        await ctx.step("tell", note, path, "tell")
        raise
    return "arrived"


@waiter.write
async def stubborn(ctx: KeyValue, path: str) -> str:
    """Comes to a result although it is cancelled."""
    try:
        await wait_for(f"{path}.never")
    except asyncio.CancelledError as error:
        return f"done all the same: {error}"
    return "done"


@waiter.write
async def linger(ctx: KeyValue, path: str) -> str:
    """Notes each attempt, and waits for a file."""
    note(path, "attempt")
    await wait_for(f"{path}.go")
    return "gone on"


@tired.write
async def fail(ctx: KeyValue, path: str) -> None:
    """Fails, and would be tried again in an hour."""
    note(path, "attempt")
    raise ValueError("again")


@function(name="runner", retry=POLICY, timeout_s=None)
async def runner(ctx: Turn, path: str) -> str:
    """A function that can be cancelled too, for it waits."""
    await ctx.step("begin", note, path, "begin")
    await ctx.sleep(3600)
    return "slept"


@waiter.write
async def desk(ctx: KeyValue, path: str, count: int) -> list[Any]:
    """Answers so many updates: odd numbers are refused."""
    served = []
    for _ in range(count):
        request = await ctx.update("number", returns=int)
        served.append(request.value)
        note(path, f"seen {request.value}")
        await wait_for(f"{path}.{request.value}")
        if request.value % 2:
            await request.reject(f"{request.value} is odd")
        else:
            await request.answer({"half": request.value // 2})
    ctx.set("served", served)
    return served


@waiter.write
async def question(ctx: KeyValue, path: str, to: str, size: int = 0, timeout_s: float = 60.0) -> Any:
    """Asks a slow actor, and gives the answer, or its length."""
    answer = await ctx.ask(slow, to, "think", {"path": path, "size": size}, timeout_s=timeout_s)
    await wait_for(f"{path}.end")
    return len(answer) if size else answer


@waiter.write
async def party(ctx: KeyValue, path: str) -> list[str]:
    """Books side by side, then waits; cancelled, it takes back what it has booked, side by side as well."""
    booked: list[str] = []

    async def book(name: str) -> None:
        await ctx.step(f"book {name}", note, path, f"book {name}")
        booked.append(name)

    try:
        await asyncio.gather(book("hall"), book("band"))
        await wait_for(f"{path}.never")
    except asyncio.CancelledError:
        await asyncio.gather(*[ctx.step(f"unbook {name}", note, path, f"unbook {name}") for name in booked])
        await wait_for(f"{path}.go")
    return booked


@waiter.write
async def reservation(ctx: KeyValue, path: str) -> str:
    """Asks somebody, then waits; cancelled, it asks again for the opposite."""
    thought = await ctx.ask(slow, "s", "think", {"path": path})
    try:
        await wait_for(f"{path}.never")
    except asyncio.CancelledError:
        return f"{thought}, and {await ctx.ask(slow, 's', 'think', {'path': path, 'size': 3})}"
    return str(thought)


@slow.write
async def think(ctx: KeyValue, path: str, size: int = 0) -> Any:
    """Answers once there is a file; each run is a line."""
    note(path, "think")
    await wait_for(f"{path}.answer")
    if ctx.key == "deep":
        return msgspec.json.decode(b"[" * size + b"]" * size)
    if size < 0:
        raise Rejected("no thought")
    return "x" * size if size else "thought"


@waiter.write
async def chorus(ctx: KeyValue, path: str) -> Any:
    """Waits for a signal, and beside it, until somebody makes a file, for something that nobody else knows of."""
    note(path, "attempt")
    beside = asyncio.create_task(wait_for(f"{path}.go"))
    value = await ctx.signal("value")
    beside.cancel()
    return value


@waiter.write
async def hasty(ctx: KeyValue, path: str, seconds: float) -> str:
    """Gives up a signal after a time of its own."""
    note(path, "attempt")
    try:
        async with asyncio.timeout(seconds):
            await ctx.signal("never")
    except TimeoutError:
        return "gave up"
    return "went"


@function(name="sleeper", retry=POLICY, timeout_s=None)
async def sleeper(ctx: Turn, path: str, seconds: float) -> str:
    """Sleeps between two steps, without a key."""
    note(path, "attempt")
    await ctx.step("before", note, path, "before")
    await ctx.sleep(seconds)
    return str(await ctx.step("after", note, path, "after"))


@waiter.write
async def choir(ctx: KeyValue, path: str) -> list[int]:
    """Answers updates side by side with waiting for a signal, until that comes."""
    served: list[int] = []

    async def serve() -> None:
        while True:
            request = await ctx.update("number", returns=int)
            served.append(request.value)
            await request.answer(request.value)

    note(path, "attempt")
    beside = asyncio.create_task(serve())
    await ctx.signal("end")
    beside.cancel()
    return served
