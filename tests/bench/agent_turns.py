"""A process that says a sentence, which the router has an agent answer: `python -m tests.bench.agent_turns '<Load>'`.

Over HTTP, each time in a session of its own; answers with a Tally.
"""

from __future__ import annotations

import itertools
import uuid
from functools import partial

import msgspec
import uvloop

from tests.bench.agent_kinds import ASKED
from tests.bench.intents import Poster, connected
from tests.bench.tally import Load, Tally, drive, tell, told

AGENT = "clerk"
WAIT_S = 60.0


class _Answer(msgspec.Struct):
    agent: str
    text: str


_decode = msgspec.json.Decoder(_Answer).decode


async def run(load: Load) -> Tally:
    """Says things until the measurement is over."""
    own, numbers = uuid.uuid4().hex[:8], itertools.count()
    posters = [await connected(load.target) for _ in range(load.in_flight)]

    async def turn(poster: Poster, _: str) -> bool:
        said = {"text": ASKED, "session": f"{own}-{next(numbers)}", "wait_s": WAIT_S}
        answer = _decode(await poster.ask("POST", "/intent", said))
        return answer.agent == AGENT and bool(answer.text)

    tally = await drive(load, [partial(turn, poster) for poster in posters])
    for poster in posters:
        poster.close()
    return tally


if __name__ == "__main__":
    tell(uvloop.run(run(told())))
