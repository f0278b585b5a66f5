"""Taking away what a deleted actor leaves, page by page: its events, and what its recorded answers say.

The commit that deletes an actor marks it (`actors.erase_below`); whoever finds the mark goes on with this. Each page is
a transaction of its own, and all of it may be done twice.
"""

from __future__ import annotations

from typing import LiteralString

import msgspec

from runtime.postgres.queries import query
from runtime.postgres.session import Session
from schemas.wire import Failure

PAGE = 5000
PAGED: tuple[LiteralString, ...] = ("erase_events", "erase_inbox", "erase_refused", "erase_runs")
FAILURE = msgspec.json.encode(
    Failure("deleted", "the actor was deleted after this command was done: its answer is not kept. Use a new id")
).decode()


async def erase(session: Session, actor: str, partition: int, seq: int) -> int:
    """Takes away all of an actor that is of before its event `seq`; gives how many events that were.

    Raises LogUnavailable.
    """
    wanted = {"actor": actor, "partition": partition, "seq": seq, "failure": FAILURE, "limit": PAGE}
    events = 0
    for name in PAGED:
        full = True
        while full:
            count = int((await session.run(query(name), wanted))[0][0])
            events += count if name == "erase_events" else 0
            full = count == PAGE
    await session.run(query("erase_late_snapshots"), wanted)
    await session.run(query("erase_documents"), wanted)
    await session.run(query("erased"), wanted)
    return events


async def erase_rest(session: Session) -> None:
    """Goes on where a deletion was cut off. Raises LogUnavailable."""
    for actor, partition, seq in await session.run(query("to_erase")):
        await erase(session, str(actor), partition, seq)
