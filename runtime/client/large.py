"""Replies that no message can hold: the pod has put them into the object store, and said where."""

from __future__ import annotations

import msgspec

from runtime.client.connection import Connection
from runtime.client.objects import Objects
from schemas.wire import Failure, Reply

_decode = msgspec.json.Decoder(Reply).decode


class LargeReplies:
    """Those to one client."""

    def __init__(self, connection: Connection) -> None:
        self._objects = Objects(connection)

    async def whole(self, reply: Reply) -> Reply:
        """What `reply` says the place of; any other reply as it is. Raises CallFailed (not_found, unavailable)."""
        name = place_of(reply.error)
        return reply if name is None else _decode(await self._objects.get(name))


def place_of(failure: Failure | None) -> str | None:
    """The object that holds the reply which a failure stands for."""
    if failure is None or failure.code != "too_large" or not isinstance(failure.details, dict):
        return None
    name = failure.details.get("object")
    return name if isinstance(name, str) else None
