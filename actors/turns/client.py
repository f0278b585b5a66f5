"""Putting turns on an agent's queue, and following them from anywhere.

    desk = TurnQueue(client, greeter, "front-desk")
    await desk.put(Turn("greet", kwargs={"name": "Ann"}))
    async for turn, value in desk.run():
        print(turn.tool, value)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from actors.turns.agent import SUFFIX
from actors.turns.queue import Queue
from actors.turns.turn import Queued, Snapshot, Turn
from runtime import CallFailed, Entity, Rejected
from runtime.client import Client, Run

PAUSE_S = 0.05


class TurnFailed(Exception):
    """A turn that is followed has failed. It is kept on the queue, and `run` can be called again to go on behind it."""

    def __init__(self, id: str, turn: Turn, reason: str) -> None:
        super().__init__(f"turn {id} ({turn.tool}) failed: {reason}")
        self.id = id
        self.turn = turn


class TurnQueue:
    """The queue of one agent's key. `agent` is the kind, or its name."""

    def __init__(self, client: Client, agent: Entity[Queue] | str, key: str) -> None:
        self._client = client
        self._agent = agent if isinstance(agent, str) else agent.name
        self._key = key
        self._seen: set[str] = set()

    async def put(self, turn: Turn, *, id: str | None = None) -> str:
        """Puts a turn behind the others, once for one `id`, which is its id. Raises Rejected."""
        ids = await self._client.ask(self._agent, self._key, "put", turn, id=id, type=list[str])
        return str(ids[0])

    async def status(self) -> Queue:
        """The queue as it is."""
        return await self._client.query(self._agent, self._key, "status", type=Queue)  # type: ignore[no-any-return]  # read as `type`

    async def run(self) -> AsyncGenerator[tuple[Turn, Any], None]:
        """(turn, value) in order, until the queue is empty or held; each once for one TurnQueue.

        Turns that had ended before are among them as far as the queue knows of them. Raises TurnFailed behind the
        values of a turn that failed.
        """
        while True:
            queue = await self.status()
            known: list[Queued] = [Queued(one.id, one.turn) for one in queue.ended]
            known += [queue.current] if queue.current is not None else []
            new = next((one for one in known if one.id not in self._seen), None)
            if new is None:
                if queue.current is None and (queue.held or not queue.waiting):
                    return
                await asyncio.sleep(PAUSE_S)
                continue
            try:
                run = Run(self._client, self._agent + SUFFIX, self._key, new.id)
                async with aclosing(self._client.values(run)) as values:
                    async for _, value in values:
                        yield new.turn, value
            except (Rejected, CallFailed) as error:
                self._seen.add(new.id)
                raise TurnFailed(new.id, new.turn, str(error)) from error
            self._seen.add(new.id)

    async def cancel(self, id: str | None = None) -> bool:
        """Cancels the turn in flight, or one that waits; gives whether there was one."""
        return bool(await self._client.ask(self._agent, self._key, "cancel", {"id": id}))

    async def retry(self, id: str) -> None:
        """Takes a turn that has failed again, before the others."""
        await self._client.ask(self._agent, self._key, "retry", {"id": id})

    async def drop(self, id: str) -> None:
        """Forgets a turn that has failed."""
        await self._client.ask(self._agent, self._key, "drop", {"id": id})

    async def go_on(self) -> None:
        """Has a held queue go on behind the failure."""
        await self._client.ask(self._agent, self._key, "go_on")

    async def to_dict(self) -> dict[str, Any]:
        """What is still to do, the turn in flight too, as plain values."""
        snapshot = await self._client.query(self._agent, self._key, "snapshot", type=Snapshot)
        return msgspec.to_builtins(snapshot)  # type: ignore[no-any-return]  # of a Struct it is a dictionary

    async def from_dict(self, data: dict[str, Any]) -> None:
        """Takes over what `to_dict` gave, into an empty queue. Raises Rejected, and ValidationError for other data."""
        await self._client.ask(self._agent, self._key, "restore", msgspec.convert(data, Snapshot))
