"""Membership, leases and registration on Postgres.

Heartbeats have a connection of their own, so that nothing else delays them; everything else shares a second one.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.errors import Misconfigured
from runtime.host.ports import LivePod, OutboxRow, PendingRow, Taken
from runtime.postgres.queries import query
from runtime.postgres.session import Session


class PostgresOwnership:
    """The Ownership port, and the registration of a group and its kinds.

    Args:
        url: where Postgres is.
        pod: this process's id, new at each start.
        group: the pod's group.
        kinds: kind → its capability as JSON.
    """

    def __init__(self, url: str, pod: str, group: str, code_version: str, kinds: Mapping[str, str]) -> None:
        self._pod = pod
        self._group = group
        self._code_version = code_version
        self._kinds = dict(kinds)
        self._beats = Session(url, {"statement_timeout": "2s"})
        self._work = Session(url, {"statement_timeout": "10s", "lock_timeout": "2s"})

    async def register(self, partitions: int) -> tuple[int, str]:
        """Registers group, lanes and kinds; gives (partitions, log id). Safe to run from many pods at once.

        Raises Misconfigured when the log was made for another number of partitions, or a kind belongs to another group.
        """
        await self._run("set_setting", "partitions", str(partitions))
        stored = int((await self._run("setting", "partitions"))[0][0])
        if stored != partitions:
            raise Misconfigured(
                f"the log was made for {stored} partitions and this pod wants {partitions}: the number is fixed, since "
                f"changing it would split a key's commands over two partitions; set RUNTIME_PARTITIONS={stored}"
            )
        await self._run("register_group", self._group)
        await self._run("register_lanes", partitions, partitions, self._group)
        for kind, capability in self._kinds.items():
            await self._run("register_kind", kind, self._group, self._code_version, capability)
        owners = dict(await self._run("kind_groups"))
        for kind in self._kinds:
            if owners[kind] != self._group:
                raise Misconfigured(
                    f"kind {kind!r} is served by group {owners[kind]!r}, and this pod is in group {self._group!r}: "
                    f"a kind has one group; start the pod with --group {owners[kind]}"
                )
        return stored, str((await self._run("setting", "log_id"))[0][0])

    async def heartbeat(self, ttl_s: float) -> None:
        beat = (self._pod, self._group, socket.gethostname(), os.getpid(), self._code_version, ttl_s)
        await self._beats.run(query("heartbeat"), beat, timeout_s=ttl_s)

    async def live_pods(self) -> list[LivePod]:
        return [LivePod(*row) for row in await self._run("live_pods", self._group)]

    async def owners(self) -> dict[int, tuple[str | None, int]]:
        return {row[0]: (row[2], row[3]) for row in await self._run("owners", self._group)}

    async def take(self, lanes: Sequence[int]) -> list[Taken]:
        rows = await self._run("take", {"pod": self._pod, "lanes": list(lanes), "kinds": sorted(self._kinds)})
        if not rows:
            return []
        ids = [row[0] for row in rows]
        positions = dict(await self._run("lane_positions", ids, [row[1] for row in rows]))
        held: dict[int, dict[str, tuple[str, int]]] = defaultdict(dict)
        for lane, actor, kind, count in await self._run("lane_held", ids):
            held[lane][actor] = (kind, count)
        running: dict[int, list[PendingRow]] = defaultdict(list)
        for row in await self._run("lane_pending", ids):
            running[row[0]].append(PendingRow(*row))
        paused: dict[int, set[str]] = defaultdict(set)
        for lane, actor in await self._run("lane_paused", ids):
            paused[lane].add(actor)
        outbox: dict[int, list[OutboxRow]] = defaultdict(list)
        for row in await self._run("lane_outbox", ids):
            outbox[row[0]].append(OutboxRow(*row))
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
            )
            for lane, partition, epoch, checkpoint, checkpoint_at, position, unclean, probe_seq, probe_count in rows
        ]

    async def release(self, lanes: Sequence[tuple[int, int]]) -> None:
        if lanes:
            await self._run("release", [lane for lane, _ in lanes], [epoch for _, epoch in lanes])

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
