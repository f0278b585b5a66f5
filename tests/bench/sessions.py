"""A long conversation that is not in memory: how long until somebody can read its newest message."""

from __future__ import annotations

import statistics
import time

import uvloop

from actors.sessions.session import Heard, Status
from actors.sessions.transcript import Line
from runtime.client import Client
from schemas.conversation import KIND, run_key
from tests.bench.agent_kinds import SAID_AT_ONCE
from tests.bench.agents import KINDS
from tests.bench.figures import Figures
from tests.bench.stage import Miscounted, Scene, Stage

AGENT = "reciter"
IDLE_S = 1.0
LOOKS = 5
TOO_LONG_S = 120.0


def activation(stage: Stage, messages: int, figures: Figures) -> None:
    """Says things until the conversation has so many messages, lets it be passivated, and asks for its last ones."""

    async def measured(scene: Scene) -> list[float]:
        async with await Client.connect(scene.system.nats_url) as client:
            said = 0
            while said < messages:
                said += 1 + SAID_AT_ONCE
                heard = await client.ask(KIND, "long", "say", {"text": "And now?", "agent": AGENT}, type=Heard)
                await client.call(AGENT, run_key("long", heard.run), "run", b"", id=heard.run, timeout_s=TOO_LONG_S)
                await _settled(client, said)
            took = []
            for _ in range(LOOKS):
                time.sleep(3 * IDLE_S)
                began = time.perf_counter()
                asked = {"upto": said, "limit": 5}
                _, last = await client.query(KIND, "long", "window", asked, type=tuple[str, list[Line]])
                took.append((time.perf_counter() - began) * 1000)
                if [line.number for line in last] != list(range(said - 4, said + 1)):
                    raise Miscounted(f"the last of {said} messages are {last}")
            return took

    with stage.scene(modules=[KINDS], idle_s=IDLE_S) as scene:
        took = uvloop.run(measured(scene))
        events = scene.counted().events
    figures.say(
        f"a session of {messages} messages ({events} events in the log) activated in {statistics.median(took):.1f} ms"
    )
    figures.add(session_10k_activation_ms=statistics.median(took))


async def _settled(client: Client, said: int) -> None:
    end = time.monotonic() + TOO_LONG_S
    while True:
        found = await client.query(KIND, "long", "status", type=Status)
        if found.said >= said and found.running is None:
            return
        if time.monotonic() > end:
            raise Miscounted(f"the session has {found.said} messages instead of {said}")
