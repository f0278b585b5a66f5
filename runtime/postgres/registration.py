"""Registering a group, its lanes and its kinds: as current, or standing by for a promotion (docs/adr/0007)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from runtime.errors import Misconfigured, ServedElsewhere
from runtime.host.places import Place
from runtime.postgres.connection import Connection
from runtime.postgres.queries import query
from runtime.postgres.session import Session

_log = logging.getLogger("troupe.leases")

REGISTRATION_LOCK = 7_215_846_001_337_002
"""Advisory lock of registrations and promotions: which group is a kind's must not change between look and write."""


async def register(
    session: Session, group: str, code_version: str, kinds: Mapping[str, str], partitions: int, place: Place,
    brought: frozenset[str] = frozenset(),
) -> tuple[int, str]:  # fmt: skip
    """Registers group, lanes and kinds (kind → its capability as JSON) in a place; gives (partitions, log id).

    Safe to run from many pods at once. When the kinds are another group's, this one stands by: its lanes are standby
    lanes, and its kinds stay that group's until a promotion.

    Raises Misconfigured when the log was made for another number of partitions, when kinds or the group are in another
    stream; ServedElsewhere when a group that serves kinds of its own claims another group's, or all that it claims is
    `brought`; LogUnavailable.
    """
    async with session.connection() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (REGISTRATION_LOCK,))
        stored = await _partitions(connection, partitions)
        elsewhere = await _run(connection, "kinds_elsewhere", list(kinds), place.stream)
        ((stream,),) = await _run(connection, "register_group", group, place.stream)
        if elsewhere or stream != place.stream:
            raise Misconfigured(_moved(group, stream, elsewhere, place))
        for kind, capability in kinds.items():
            await _run(connection, "register_group_kind", group, kind, code_version, capability)
        # Those of all its pods: one pod that serves no kind of another group must not make the lanes live for the rest.
        others = dict(await _run(connection, "foreign_kinds", group, group))
        shared = others.keys() <= brought < kinds.keys()
        if others and (shared or await _run(connection, "own_kinds", group)):
            raise ServedElsewhere(_claimed(group, others), frozenset(others))
        lanes = {"partitions": stored, "standby": bool(others), "group": group}
        await _run(connection, "register_lanes", lanes | {"server": place.server, "servers": len(place.servers)})
        if others:
            _log.warning(
                "group %r stands by: %s; `runtime groups promote %s` makes it the current one",
                group,
                ", ".join(f"kind {kind!r} is served by group {owner!r}" for kind, owner in sorted(others.items())),
                group,
            )
        else:
            await _run(connection, "open_lanes", group)
            for kind, capability in kinds.items():
                await _run(connection, "register_kind", kind, group, code_version, capability)
        return stored, str((await _run(connection, "setting", "log_id"))[0][0])


async def _partitions(connection: Connection, wanted: int) -> int:
    await _run(connection, "set_setting", "partitions", str(wanted))
    stored = int((await _run(connection, "setting", "partitions"))[0][0])
    if stored != wanted:
        raise Misconfigured(
            f"the log was made for {stored} partitions and this pod wants {wanted}: the number is fixed, since "
            f"changing it would split a key's commands over two partitions; set RUNTIME_PARTITIONS={stored}"
        )
    return stored


def _moved(group: str, stream: str, elsewhere: list[tuple[str, str]], place: Place) -> str:
    what, found = elsewhere[0] if elsewhere else (f"group {group!r}", stream)
    return (
        f"{what if not elsewhere else f'kind {what!r}'} is in stream {found}, and RUNTIME_CMD_STREAMS puts it into "
        f"{place.stream}: commands that are in {found} would be done after those behind them, or never. Set "
        "RUNTIME_CMD_STREAMS as it was; only kinds that were never served can be given a stream of their own"
    )


def _claimed(group: str, others: Mapping[str, str]) -> str:
    kind, owner = min(others.items())
    return (
        f"kind {kind!r} is served by group {owner!r}, and group {group!r} serves kinds of its own: a kind has one "
        f"group, and only one that serves nothing yet can stand by to replace it; start this pod with --group {owner}"
    )


async def _run(connection: Connection, name: str, *parameters: Any) -> list[Any]:
    given = parameters[0] if len(parameters) == 1 and isinstance(parameters[0], dict) else parameters
    cursor = await connection.execute(query(name), given)
    return await cursor.fetchall() if cursor.description else []
