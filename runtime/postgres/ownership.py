"""Membership, leases and registration on Postgres.

Heartbeats have a connection of their own, so that nothing else delays them; everything else shares a second one.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.host.places import Place
from runtime.host.ports import Held, LivePod, OutboxRow, Owners, PendingRow, Taken
from runtime.postgres.connection import INCARNATION
from runtime.postgres.queries import query
from runtime.postgres.registration import register
from runtime.postgres.session import Session


class PostgresOwnership:
    """The Ownership port, and the registration of a group and its kinds.

    Args:
        url: where Postgres is.
        pod: this process's id, new at each start.
        group: the pod's group.
        kinds: kind → its capability as JSON.
        place: the stream and the server that the group is registered for; one of each by default.
        brought: kinds that are left to another group when that has them, and the group has kinds besides.
    """

    def __init__(
        self,
        url: str,
        pod: str,
        group: str,
        code_version: str,
        kinds: Mapping[str, str],
        place: Place | None = None,
        brought: frozenset[str] = frozenset(),
    ) -> None:
        self._brought = brought
        self._place = place or Place((url,))
        self._pod = pod
        self._group = group
        self._code_version = code_version
        self._kinds = dict(kinds)
        self._beats = Session(url, 2.0)
        # A pod that is frozen as it takes lanes must not keep their rows locked.
        self._work = Session(url, 10.0, {"lock_timeout": "2s", "idle_in_transaction_session_timeout": "2s"})

    async def register(self, partitions: int) -> tuple[int, str]:
        """See runtime.postgres.registration.register."""
        return await register(
            self._work, self._group, self._code_version, self._kinds, partitions, self._place, self._brought
        )

    async def incarnation(self) -> str:
        return str((await self._work.run(INCARNATION))[0][0])

    async def recall(self) -> tuple[str, bool]:
        """(log id, whether the log knows this pod's group and kinds). Raises LogUnavailable."""
        log_id, known = (await self._run("recall", self._group, list(self._kinds)))[0]
        return str(log_id), known == len(self._kinds)

    async def heartbeat(self, ttl_s: float) -> float:
        beat = (self._pod, self._group, socket.gethostname(), os.getpid(), self._code_version, ttl_s)
        now: float = (await self._beats.run(query("heartbeat"), beat, timeout_s=ttl_s))[0][0]
        return now

    async def confirm(self) -> dict[int, int]:
        return dict(await self._run("confirm", self._pod))

    async def live_pods(self) -> list[LivePod]:
        return [LivePod(*row) for row in await self._run("live_pods", self._group)]

    async def owners(self) -> Owners:
        rows = await self._run("owners", self._group, self._group, self._pod)
        own = {lane: (owner, epoch) for lane, owner, epoch, ours in rows if ours}
        return Owners(own, len(own) < len(rows))

    async def take(self, lanes: Sequence[int]) -> list[Taken]:
        async with self._work.connection() as connection, connection.transaction():
            free = await (await connection.execute(query("lock_free"), (list(lanes), self._group))).fetchall()
            wanted = {"pod": self._pod, "lanes": [lane for (lane,) in free], "kinds": sorted(self._kinds)}
            rows = await (await connection.execute(query("take"), wanted)).fetchall()
        if not rows:
            return []
        await self._run("take_up_group", self._group)  # it may have been retired between registering and now
        ids = [row[0] for row in rows]
        positions = dict(await self._run("lane_positions", ids, [row[1] for row in rows]))
        held: dict[int, dict[str, Held]] = defaultdict(dict)
        for lane, actor, *waiting in await self._run("lane_held", ids):
            held[lane][actor] = Held(*waiting)
        running: dict[int, list[PendingRow]] = defaultdict(list)
        for row in await self._run("lane_pending", ids):
            running[row[0]].append(PendingRow(*row))
        paused: dict[int, set[str]] = defaultdict(set)
        for lane, actor in await self._run("lane_paused", ids):
            paused[lane].add(actor)
        outbox: dict[int, list[OutboxRow]] = defaultdict(list)
        for row in await self._run("lane_outbox", ids):
            outbox[row[0]].append(OutboxRow(*row))
        refused = {row[0] for row in await self._run("refused_partitions", [row[1] for row in rows])}
        return [
            Taken(
                lane,
                partition,
                epoch,
                checkpoint,
                checkpoint_at,
                max(position, positions[lane]),
                unclean,
                held[lane],
                running[lane],
                frozenset(paused[lane]),
                outbox[lane],
                probe_seq,
                probe_count,
                standby,
                partition in refused,
            )
            for (
                lane, partition, epoch, checkpoint, checkpoint_at, position, unclean, probe_seq, probe_count, standby
            ) in rows
        ]

    async def release(self, lanes: Sequence[tuple[int, int]]) -> None:
        if lanes:
            await self._run("release", [lane for lane, _ in lanes], [epoch for _, epoch in lanes])

    async def yield_moved(self) -> set[str]:
        rows = await self._run("yield_lanes", {"group": self._group, "pod": self._pod})
        return {group for (group,) in rows}

    async def leave(self) -> None:
        await self._run("leave", self._pod)

    async def remove(self) -> None:
        await self._run("remove_pod", self._pod)

    async def close(self) -> None:
        """Closes both connections."""
        await self._beats.close()
        await self._work.close()

    async def _run(self, name: str, *parameters: Any) -> list[Any]:
        given = parameters[0] if len(parameters) == 1 and isinstance(parameters[0], dict) else parameters
        return await self._work.run(query(name), given)
