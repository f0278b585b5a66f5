"""Groups on Postgres: what each serves, the promotion of one to be the current group of its kinds, and its end.

A promotion exchanges the lanes of two groups and moves nothing that names a lane: docs/adr/0007 says why that suffices.
"""

from __future__ import annotations

from typing import Any

from runtime.errors import CallFailed, Rejected
from runtime.host.reading import Promotion, Retirement
from runtime.postgres.connection import Connection
from runtime.postgres.queries import query
from runtime.postgres.registration import REGISTRATION_LOCK
from runtime.postgres.session import Session


class PostgresGroups:
    """Runs on a connection of its own."""

    def __init__(self, url: str) -> None:
        # A lane is locked for as long as a commit takes; longer than a lease means that something is wrong.
        self._session = Session(url, 30.0, {"lock_timeout": "5s"})

    async def groups(self) -> list[dict[str, Any]]:
        """Every group: its kinds, pods and lanes. Raises LogUnavailable.

        `current` are the kinds whose current group it is; `kinds` those that its pods can serve; `ready` says of one
        that stands by that living pods own all its lanes; `checkpoint` is the lowest of its lanes that are worked on;
        the stream is kept from there on for every group but those with a time in `retired_at`.
        """
        found = []
        for row in await self._session.run(query("list_groups")):
            name, versions, current, kinds, pods, lanes, owned, standby, checkpoint, retired_at, stream = row
            found.append({
                "group": name,
                "versions": sorted(versions),
                "current": current,
                "kinds": kinds,
                "pods": pods,
                "lanes": lanes,
                "lanes_owned": owned,
                "standby": standby,
                "ready": bool(lanes) and owned == lanes,
                "checkpoint": None if standby else checkpoint,
                "retired_at": retired_at,
                "stream": stream,
            })  # fmt: skip
        return found

    async def promote(self, group: str, *, without_kinds: bool = False) -> Promotion:
        """Makes a group the current one of its kinds, in one transaction.

        Args:
            without_kinds: whether it may lack kinds of the group it replaces, whose commands then wait.

        Raises CallFailed: not_found, or unavailable while living pods do not own all of the group's lanes; Rejected
        when it lacks kinds or would replace several groups; LogUnavailable, after which either may be the current one.
        """
        async with self._session.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (REGISTRATION_LOCK,))
            if not await _run(connection, "group_exists", group):
                raise CallFailed("not_found", f"there is no group {group!r}: start its pods first (--group, --version)")
            replaced = [name for (name,) in await _run(connection, "replaced_groups", group, group)]
            promoted = bool(replaced) or not await _run(connection, "own_kinds", group)
            if len(replaced) > 1:
                raise Rejected(
                    f"the kinds of group {group!r} are those of several groups, {', '.join(sorted(replaced))}, and a "
                    "promotion replaces one: start pods whose modules are those of one group"
                )
            if replaced:
                await _exchange(connection, replaced[0], group, without_kinds)
            elif promoted:
                await _run(connection, "open_lanes", group)
            if promoted:
                await _run(connection, "make_current", group)
            kinds = [kind for (kind,) in await _run(connection, "own_kinds", group)]
        return Promotion(group, promoted, replaced[0] if replaced else None, sorted(kinds))

    async def retire(self, group: str) -> Retirement:
        """Keeps the stream no longer for a group; a pod that starts in it takes it up again.

        Raises CallFailed (not_found); Rejected while a pod of the group lives; LogUnavailable.
        """
        async with self._session.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (REGISTRATION_LOCK,))
            found = await _run(connection, "retire_group", {"group": group})
            if not found:
                raise CallFailed("not_found", f"there is no group {group!r}: see `runtime groups list`")
            (pods,) = found[0]
            if pods:
                raise Rejected(f"group {group!r} is served by {', '.join(pods)}: stop its pods first")
            return Retirement(group, *(await _run(connection, "group_leaves", {"group": group}))[0])

    async def close(self) -> None:
        """Closes the connection."""
        await self._session.close()


async def _exchange(connection: Connection, old: str, new: str, without_kinds: bool) -> None:
    """Gives the old group's lanes to the new one, and the new one's standby lanes to the old."""
    await _run(connection, "lock_lanes", [old, new])
    if unready := (await _run(connection, "unready_lanes", new))[0][0]:
        raise CallFailed("unavailable", f"group {new!r} is not ready: no living pod of it owns {unready} of its lanes")
    unserved = [kind for (kind,) in await _run(connection, "unserved_kinds", old, new)]
    if unserved and not without_kinds:
        raise Rejected(
            f"not every pod of group {new!r} serves {', '.join(unserved)}, which group {old!r} does: start its pods "
            "with those modules too, or promote it --without-kinds, and their commands wait until a pod serves them"
        )
    standby = await _run(connection, "remove_standby", new)
    await _run(connection, "hand_over_live", new, old)
    await _run(connection, "insert_standby", old, *map(list, zip(*standby, strict=True)))
    await _run(connection, "unblame_executions", new)
    await _run(connection, "inherit_kinds", {"old": old, "new": new})


async def _run(connection: Connection, name: str, *parameters: Any) -> list[Any]:
    given = parameters[0] if len(parameters) == 1 and isinstance(parameters[0], dict) else parameters
    cursor = await connection.execute(query(name), given)
    return await cursor.fetchall() if cursor.description else []
