"""A person's orders to an actor: pause, resume, skip, replay, drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from runtime.client.failures import decode_as
from runtime.client.services import ATTEMPT_S

if TYPE_CHECKING:
    from runtime.client.client import Client

ORDER_QUERY = "$order"


async def order(
    client: Client,
    kind: str,
    key: str,
    what: Literal["pause", "resume", "skip", "replay", "drop", "delete"],
    by: str | None,
    reason: str,
    *,
    dead_letter: int = 0,
    force: bool = False,
    timeout_s: float,
    type: Any = Any,
) -> Any:
    """Gives the order to the actor's owner, and returns what it answers, read as `type`.

    Replay and drop are of the dead letter of that number; skip puts what holds the key among the dead letters. Raises
    Rejected for a letter that was settled already, or when nothing holds the key, and
    CallFailed (not_found, unavailable).
    """
    question: dict[str, Any] = {"what": what, "by": by, "reason": reason, "dead_letter": dead_letter}
    if force:
        question["force"] = True
    # A deletion may take its time, and asked again it would be another one.
    attempt_s = timeout_s if what == "delete" else ATTEMPT_S
    body = msgspec.json.encode(question)
    reply = await client.read(kind, key, ORDER_QUERY, body, timeout_s=timeout_s, attempt_s=attempt_s)
    return decode_as(reply.result, type)


async def settle(
    client: Client,
    number: int,
    kind: str,
    key: str,
    what: Literal["replay", "drop"],
    by: str | None,
    reason: str,
    *,
    timeout_s: float,
) -> int:
    """Replays or drops the dead letter `number` of the actor, and gives the actor's sequence number after it.

    One of a kind that nobody serves has no actor to be told: it can only be dropped, and the number is 0. Raises as
    `order` does, and CallFailed (unknown_kind).
    """
    if what == "drop":
        question = {"tenant": client.tenant, "id": number, "by": by}
        if (await client.service("drop", question, timeout_s=timeout_s))["dropped"]:
            return 0
    answer = await order(client, kind, key, what, by, reason, dead_letter=number, timeout_s=timeout_s)
    seq: int = answer["seq"]
    return seq


class Archived(msgspec.Struct):
    """A segment of the archive whose file still has events of a deleted actor, which nobody is given any more."""

    url: str
    first_seq: int
    last_seq: int


class Deleted(msgspec.Struct):
    """What became of an actor.

    seq       the sequence number of the event `troupe.deleted`, behind which its new life begins
    events    how many events were taken away
    ended     how many commands were ended that were not done
    archived  where events still lie, until these segments are deleted by hand
    """

    seq: int
    events: int = 0
    ended: int = 0
    archived: list[Archived] = []


async def delete(
    client: Client, kind: str, key: str, *, by: str | None, reason: str, force: bool, timeout_s: float
) -> Deleted:
    """Deletes an actor with its history; see Client.delete."""
    deleted: Deleted = await order(
        client, kind, key, "delete", by, reason, force=force, timeout_s=timeout_s, type=Deleted
    )
    return deleted
