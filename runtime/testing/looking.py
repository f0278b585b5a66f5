"""What a test sees of the actors of a pod: their log, the states in memory, and what was parked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from runtime.errors import CallFailed
from runtime.host.pod import Pod
from runtime.kind import Kind, StoredEvent
from runtime.world_actor import Command, DeadLetter
from schemas.address import Address, actor_id, encode_token
from schemas.wire import LogEvent

PAGE = 1000


class Looking:
    """At a pod that owns the only partition, in its event loop."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    async def log(self) -> list[LogEvent]:
        """Every event, in the order of their commit."""
        events: list[LogEvent] = []
        reached: dict[int, int] = {}
        while True:
            found, reached = await self._pod.reader.after(reached, PAGE)
            events += found
            if len(found) < PAGE:
                return events

    async def stored(self, address: Address) -> list[StoredEvent]:
        """An actor's events."""
        return [event async for page in self._pod.reader.stored(actor_of(address), 0, 0) for event in page]

    async def state(self, address: Address, kind: Kind) -> Any:
        """An actor's state: the one in memory, or else what its log folds to."""
        live = self._pod.activations.get(actor_of(address))
        return live.state if live is not None else kind.fold(kind.initial(), await self.stored(address))

    async def dead(self, tenants: Iterable[str]) -> list[DeadLetter]:
        """The dead letters of these tenants."""
        reader, letters = self._pod.reader, []
        for tenant in tenants:
            for row in await reader.dead_letters(tenant, None, None, "parked", 0, PAGE):
                whole = await reader.dead_letter(row["id"], tenant) or row
                address = Address(tenant, row["kind"], row["key"])
                command = Command(row["command_id"], address, row["method"], whole["body"])
                cause = CallFailed(row["code"], row["error"])
                letters.append(DeadLetter(command, row["code"], row["error"], row["attempts"], cause))
        return letters

    async def replay(self, kinds: Mapping[str, Kind]) -> None:
        """See World.replay."""
        for address in {Address(event.tenant, event.kind, event.key): None for event in await self.log()}:
            kind = kinds.get(address.kind)
            if kind is None:
                continue
            folded = kind.initial()
            for event in await self.stored(address):
                folded = kind.decode_state(kind.encode_state(kind.fold(folded, [event])))
            if folded != (state := await self.state(address, kind)):
                raise AssertionError(f"{address} is {state!r}, but its log folds to {folded!r}")


def actor_of(address: Address) -> str:
    """The id of the actor there."""
    return actor_id(address.tenant, address.kind, encode_token(address.key))
