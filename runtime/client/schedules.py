"""Schedules: what starts commands again and again (actors/schedules.py). A pod must serve them.

    await client.schedules.create("nightly", Spec("report", cron="0 3 * * *", timezone="Europe/Berlin"))
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from runtime.errors import CallFailed
from schemas.schedules import KIND, MODULE, Description, Overlap, Spec

if TYPE_CHECKING:
    from runtime.client.client import Client

AT_ONCE = 32
"""Schedules that are asked at the same time when they are listed."""


class Page(msgspec.Struct):
    """Schedules by name; `after` is where the next page begins, or None when there is none."""

    schedules: list[Description]
    after: str | None


class _Actor(msgspec.Struct):
    key: str


class _Actors(msgspec.Struct):
    actors: list[_Actor]
    more: bool


class Schedules:
    """The schedules of a client's tenant; `Client.schedules`.

    Every method raises Rejected for what cannot be, CallFailed (`not_found`) for a schedule that is not there, and
    CallFailed (`unknown_kind`) when no pod serves schedules. `timeout_s` is in seconds, times are in Unix seconds.
    """

    def __init__(self, client: Client, **who: Any) -> None:
        self._client = client
        self._who = who

    def by(self, principal: str | None, roles: tuple[str, ...], headers: dict[str, str]) -> Schedules:
        """The same for somebody, whose rights and headers the runs have that this leads to; see Envelope."""
        return Schedules(self._client, principal=principal, roles=roles, headers=headers)

    async def create(
        self, name: str, spec: Spec, *, replace: bool = False, id: str | None = None, timeout_s: float = 30.0
    ) -> None:
        """Makes a schedule; the same one again does nothing. Another one of that name is changed with `replace`."""
        await self._client.check_kind(spec.kind)
        await self._ask(name, "create", {"spec": spec, "replace": replace}, timeout_s, id)

    async def describe(self, name: str, *, timeout_s: float = 10.0) -> Description:
        """All there is to know of a schedule."""
        found = await self._describe(name, timeout_s)
        if found is None:
            raise CallFailed("not_found", f"there is no schedule {name!r}: see `runtime schedules list`")
        return found

    async def list(self, *, after: str = "", limit: int = 100, timeout_s: float = 10.0) -> Page:
        """At most `limit` schedules behind the name `after`."""
        await self._check(timeout_s)
        question = {"tenant": self._client.tenant, "kind": KIND, "after_key": (KIND, after), "limit": limit}
        found: _Actors = await self._client.service("actors", question, type=_Actors, timeout_s=timeout_s)
        names = [actor.key for actor in found.actors]
        room = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> Description | None:
            async with room:
                return await self._describe(name, timeout_s)

        described = await asyncio.gather(*map(one, names))
        return Page([one for one in described if one is not None], names[-1] if found.more else None)

    async def pause(self, name: str, note: str = "", *, id: str | None = None, timeout_s: float = 30.0) -> None:
        """Stops the firing; what is due until `resume` is not made up for."""
        await self._ask(name, "pause", {"note": note}, timeout_s, id)

    async def resume(self, name: str, note: str = "", *, id: str | None = None, timeout_s: float = 30.0) -> None:
        """Goes on with the next due time."""
        await self._ask(name, "resume", {"note": note}, timeout_s, id)

    async def trigger(
        self, name: str, overlap: Overlap = "allow", *, id: str | None = None, timeout_s: float = 30.0
    ) -> str | None:
        """Starts a run now, and gives its command's id; None if one runs and `overlap` says to wait or to skip."""
        run: str | None = await self._ask(name, "trigger", {"overlap": overlap}, timeout_s, id)
        return run

    async def backfill(
        self,
        name: str,
        start: float,
        end: float,
        overlap: Literal["wait", "allow"] = "wait",
        *,
        id: str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        """Starts a run for each due time from `start` to `end`, which lie in the past, as if it had been due then."""
        await self._ask(name, "backfill", {"start": start, "end": end, "overlap": overlap}, timeout_s, id)

    async def delete(self, name: str, *, id: str | None = None, timeout_s: float = 30.0) -> None:
        """Ends a schedule; what runs goes on, and its log stays. One that is not there is left so."""
        await self._ask(name, "delete", None, timeout_s, id)

    async def _describe(self, name: str, timeout_s: float) -> Description | None:
        found: Description | None = await self._client.query(
            KIND, name, "describe", type=Description | None, timeout_s=timeout_s
        )
        return found

    async def _ask(self, name: str, method: str, args: Any, timeout_s: float, id: str | None) -> Any:
        await self._check(timeout_s)
        return await self._client.ask(KIND, name, method, args, timeout_s=timeout_s, id=id, **self._who)

    async def _check(self, timeout_s: float) -> None:
        try:
            await self._client.check_kind(KIND)
        except CallFailed as error:
            if error.code != "unknown_kind":
                raise
            text = f"no pod serves schedules: run `runtime schedules up`, or a pod with the module {MODULE}"
            raise CallFailed("unknown_kind", text) from error
