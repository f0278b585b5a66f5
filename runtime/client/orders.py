"""A person's orders to an actor: pause, resume, replay, drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from runtime.client import Client


async def order(
    client: Client,
    kind: str,
    key: str,
    what: str,
    by: str | None,
    reason: str,
    *,
    dead_letter: int = 0,
    timeout_s: float,
) -> Any:
    """Gives the order to the actor's owner and returns what it answers. Raises CallFailed and Rejected."""
    from runtime.client.failures import decode_as

    question = {"what": what, "by": by, "reason": reason, "dead_letter": dead_letter}
    reply = await client.read(kind, key, "$order", msgspec.json.encode(question), timeout_s=timeout_s)
    return decode_as(reply.result, Any)
