"""Reading the timers of lanes, and what waits for its time, on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from runtime.host.ports import PendingRow, TimerRow
from runtime.postgres.queries import query
from runtime.postgres.session import Session


class PostgresTimers:
    """The TimerSource of a pod: see runtime.host.timers.

    Timers of other kinds than `kinds` are not its business: another version of the group's pods fires them.
    """

    def __init__(self, url: str, kinds: Iterable[str], ahead: Callable[[], float] = lambda: 0.0) -> None:
        """`ahead` gives how many seconds the log's time is before the server's clock, for tests that skip time."""
        self._session = Session(url, 60.0)
        self._kinds = sorted(kinds)
        self._ahead = ahead

    async def next_timer(self, lanes: Sequence[int]) -> float | None:
        """When the earliest timer of these lanes is due (Unix seconds), or None."""
        wanted = {"lanes": list(lanes), "kinds": self._kinds, "ahead_s": self._ahead()}
        due: float | None = (await self._session.run(query("next_timer"), wanted))[0][0]
        return due

    async def due_timers(self, lanes: Sequence[int], now: float, limit: int) -> list[TimerRow]:
        """Timers due by `now` and by the log's own clock, earliest first."""
        wanted = {"lanes": list(lanes), "kinds": self._kinds, "now": now, "ahead_s": self._ahead(), "limit": limit}
        rows = await self._session.run(query("due_timers"), wanted)
        return [TimerRow(*row) for row in rows]

    async def waiting(self, lanes: Sequence[int], until: float) -> tuple[list[PendingRow], float | None]:
        """See TimerSource."""
        wanted = {"lanes": list(lanes), "kinds": self._kinds, "until": until}
        rows = await self._session.run(query("waiting"), wanted)
        behind: float | None = (await self._session.run(query("waiting_behind"), wanted))[0][0]
        return [PendingRow(*(*row, "{}", b"")) for row in rows], behind

    async def close(self) -> None:
        """Closes the connection."""
        await self._session.close()
