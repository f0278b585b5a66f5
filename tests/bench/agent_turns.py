"""A process that says something to an agent, and waits for the answer: `python -m tests.bench.agent_turns '<Load>'`.

Over HTTP, each time in a session of its own; answers with a Tally.
"""

from __future__ import annotations

import itertools
import uuid
from functools import partial

import msgspec
import uvloop

from actors.sessions.session import Heard
from schemas.conversation import run_key
from schemas.runs import encode_run_id
from tests.bench.agent_kinds import ASKED
from tests.bench.intents import Poster, connected
from tests.bench.tally import Load, Tally, drive, tell, told

AGENT = "clerk"


class _Said(msgspec.Struct):
    result: Heard


class _Run(msgspec.Struct):
    status: str


_decode_said = msgspec.json.Decoder(_Said).decode
_decode_run = msgspec.json.Decoder(_Run).decode


async def run(load: Load) -> Tally:
    """Says things until the measurement is over."""
    own, numbers = uuid.uuid4().hex[:8], itertools.count()
    posters = [await connected(load.target) for _ in range(load.in_flight)]

    async def turn(poster: Poster, _: str) -> bool:
        session = f"{own}-{next(numbers)}"
        args = {"text": ASKED, "agent": AGENT}
        said = await poster.ask("POST", "/intent", {"kind": "session", "key": session, "method": "say", "args": args})
        heard = _decode_said(said).result
        run_id = encode_run_id(AGENT, run_key(session, heard.run), heard.run)
        return _decode_run(await poster.ask("GET", f"/runs/{run_id}?wait_s=60")).status == "done"

    tally = await drive(load, [partial(turn, poster) for poster in posters])
    for poster in posters:
        poster.close()
    return tally


if __name__ == "__main__":
    tell(uvloop.run(run(told())))
