"""How long a token takes from the model's server to who watches the session over SSE, one conversation at a time."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from tests.bench.agent_kinds import ASKED
from tests.bench.agents import KINDS, fleet, model_server
from tests.bench.figures import Figures
from tests.bench.intents import connected
from tests.bench.stage import Miscounted, Scene, Stage

MODEL = "openai/timed-4"
"""Each of its pieces says when it left."""

TOO_LONG_S = 60.0
_LEFT = re.compile(rb"\b\d{10}\.\d{6}(?= )")


def lags(stage: Stage, conversations: int, figures: Figures) -> None:
    """So many messages, each in a session of its own that is watched, after one that is not counted."""
    with model_server() as url:
        path: Path = fleet(stage.next_log_dir(), url, MODEL)
        with stage.scene(gateway=True, modules=[KINDS], fleet=path) as scene:
            found = uvloop.run(_measured(scene, conversations + 1))[1:]
    first = [one[0] * 1000 for one in found]
    every = [lag * 1000 for one in found for lag in one]
    figures.say(
        f"tokens from the model to who watches, {len(found)} conversations: the first p50 "
        f"{statistics.median(first):.2f} ms, max {max(first):.2f} ms; all p50 {statistics.median(every):.2f} ms, "
        f"max {max(every):.2f} ms"
    )
    figures.add(first_token_ms=statistics.median(first), token_p50_ms=statistics.median(every))


async def _measured(scene: Scene, conversations: int) -> list[list[float]]:
    poster = await connected(scene.gateway_url)
    found = []
    for number in range(conversations):
        session = f"s{number}"
        watching = asyncio.ensure_future(_watched(scene.gateway_url, session, ready := asyncio.Event()))
        await asyncio.wait([watching, asyncio.ensure_future(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
        said = {"text": ASKED, "agent": "clerk", "session": session}
        asking = asyncio.ensure_future(poster.ask("POST", "/intent", said))
        found.append(await asyncio.wait_for(watching, TOO_LONG_S))
        await asking
    poster.close()
    return found


async def _watched(url: str, session: str, ready: asyncio.Event) -> list[float]:
    """Seconds that each token of a session's first answer was on its way."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    asked = f"GET /stream/{session} HTTP/1.1\r\nHost: {where.netloc}\r\nAccept: text/event-stream\r\n\r\n"
    writer.write(asked.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise Miscounted(f"the stream of {session} was answered with {head!r}")
    ready.set()
    pieces = int(MODEL.rpartition("-")[2])
    lags: dict[bytes, float] = {}
    rest = b""
    while len(lags) < pieces:
        part = await reader.read(65536)
        now = time.time()
        if not part:
            raise Miscounted(f"the stream of {session} ended after {len(lags)} tokens")
        rest += part
        for left in _LEFT.findall(rest):
            lags.setdefault(left, now - float(left))
        rest = rest[-64:]
    writer.close()
    return list(lags.values())
