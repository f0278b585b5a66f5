"""Visitors of the gateway, a few a second: intents, their runs, and streams that are opened and left."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import httpx

PAUSE_S = 0.3
STAY_S = 0.3


async def visit(url: str, answered: list[int]) -> None:
    """Visits the gateway at `url`, for ever, and counts in `answered[0]` the intents that got a result."""
    chance = random.Random("visitors")
    number = 0
    async with httpx.AsyncClient(base_url=url, timeout=30.0, trust_env=False) as http:
        while True:
            number += 1
            with suppress(httpx.TransportError, TimeoutError):
                answered[0] += await _once(http, f"visitor-{chance.randrange(50)}", number)
            await asyncio.sleep(PAUSE_S)


async def _once(http: httpx.AsyncClient, name: str, number: int) -> bool:
    """Reads a session for a moment, says an intent in it, and asks for its run."""
    with suppress(TimeoutError):
        async with asyncio.timeout(STAY_S), http.stream("GET", f"/stream/{name}") as facts:
            async for _ in facts.aiter_lines():
                pass
    body = {"kind": "counter", "key": name, "method": "add", "args": {"amount": 1}, "session": name}
    response = await http.post("/intent", json=body | {"id": f"{name}-{number}", "wait_s": 5})
    if response.status_code != 200:
        return False
    await http.get(f"/runs/{response.json()['run_id']}")
    return True
