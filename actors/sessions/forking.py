"""Another session that goes on from a message of this one, which stays as it is.

    await client.ask(forking, "s2", "run", {"source": "s1", "upto": 7})

The new one is given the last messages up to there, and reads older ones in the log of the one that it is from: so it
costs the same, however long that one is. Where the old one is deleted, those are gone.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from actors.sessions.session import Adopted, Session, Status, session
from actors.sessions.transcript import Line
from runtime import Rejected, Turn, Workflow, workflow
from schemas.conversation import KIND

FORKING = "session-fork"
MAX_LINES = 200
MAX_BYTES = 262_144


class Fork(Struct, frozen=True):
    """The session that is forked, and the number of the last message that the new one has."""

    source: str
    upto: int


class Lines(Struct, frozen=True, omit_defaults=True):
    """What the new one begins with."""

    lines: tuple[Line, ...]
    summary: str = ""
    forgotten: int = 0


@session.command
def adopt(
    state: Session, ctx: Turn, source: str, upto: int, summary: str, lines: tuple[Line, ...], forgotten: int = 0
) -> Adopted:
    """Begins a session with what another one had; by a run of `session-fork` alone."""
    if ctx.sender is None or ctx.sender.kind != FORKING:
        raise Rejected(f"a session is forked by a run of {FORKING}")
    if state.transcript.said or state.running is not None or state.waiting:
        raise Rejected(f"session {ctx.key} has begun already: fork into one that has not")
    return Adopted(source, upto, summary, lines, forgotten)


@workflow(FORKING, on_existing="replace")
async def forking(ctx: Workflow, fork: Fork) -> int:
    """Forks into the session whose name is this run's key; gives how many messages it has."""
    if fork.source == ctx.key:
        raise Rejected("a session is forked into another one")

    async def read(source: str, upto: int) -> Lines:
        asked = {"upto": upto, "limit": MAX_LINES}
        summary, lines = await ctx.look(KIND, source, "before", asked, type=tuple[str, list[Line]])
        forgotten = (await ctx.look(KIND, source, "status", type=Status)).forgotten
        # What the source does not tell any more, the new one does not either.
        return Lines(_fitting(lines), summary, forgotten if forgotten < upto else 0)

    found: Lines = await ctx.step("read", read, fork.source, fork.upto, returns=Lines)
    given = {
        "source": fork.source, "upto": fork.upto, "summary": found.summary, "lines": found.lines,
        "forgotten": found.forgotten,
    }  # fmt: skip
    await ctx.ask(KIND, ctx.key, "adopt", given)
    return fork.upto


def _fitting(lines: list[Line]) -> tuple[Line, ...]:
    """The last ones that one message carries."""
    kept: list[Line] = []
    room = MAX_BYTES
    for line in reversed(lines):
        room -= len(msgspec.json.encode(line))
        if room < 0:
            break
        kept.append(line)
    return tuple(reversed(kept))
