"""What became of a command: recorded, refused, on its way, or not known (`$result`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol

import msgspec

from runtime.host.answers import Refused, id_reused
from runtime.host.ports import InboxEntry, Refusal
from schemas import headers as names
from schemas.wire import Failure

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]

MAX_WAIT_S = 60.0


class ResultQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments of $result: the command's id, and how long to wait for its end (seconds).

    An id may have been refused with one body and used with another: `digest` says which is meant.
    """

    id: str
    wait_s: float = 0.0
    digest: Int32 | None = None


class OutcomeSource(Protocol):
    """What the log knows of a command; see runtime.postgres.reading.PostgresReader."""

    async def inbox_entry(self, actor: str, command_id: str) -> InboxEntry | None: ...
    async def pending_entry(self, actor: str, command_id: str) -> tuple[str, int, str | None, int] | None: ...
    async def refusal(self, actor: str, command_id: str, digest: int | None) -> Refusal | None: ...


class Outcomes:
    """Those of a pod's actors, and who waits for them. `settled` returns when memory is as far as the log."""

    def __init__(self, source: OutcomeSource, settled: Callable[[], Awaitable[None]]) -> None:
        self._source = source
        self._settled = settled
        self._waiting: dict[tuple[str, str], list[asyncio.Future[None]]] = {}

    @property
    def awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def committed(self, answered: list[tuple[str, str]]) -> None:
        """Commands (actor, id) were answered: whoever waits for their results looks again."""
        if self._waiting:
            for place in answered:
                for future in self._waiting.pop(place, ()):
                    if not future.done():
                        future.set_result(None)

    async def of(self, actor: str, question: ResultQuestion) -> dict[str, Any]:
        """What is known of a command, as a RunStatus; after the wait asked for, unless it ends sooner."""
        if not names.is_id(question.id):
            raise Refused("invalid_arguments", f"{question.id[:80]!r} cannot be a command's id", "$.id")
        place = (actor, question.id)
        end = asyncio.get_running_loop().time() + min(max(question.wait_s, 0.0), MAX_WAIT_S)
        while True:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(place, []).append(ended)  # before looking, or its end could slip between
            try:
                status = await self._status(*place, question.digest)
                left = end - asyncio.get_running_loop().time()
                if status["status"] not in ("unknown", "accepted"):
                    # The log may say so before memory does, and who is told the end may ask for the state next.
                    await self._settled()
                    return status
                if left <= 0:
                    return status
                await asyncio.wait([ended], timeout=left)
            finally:
                waiters = self._waiting.get(place, [])
                if ended in waiters:
                    waiters.remove(ended)
                if not waiters:
                    self._waiting.pop(place, None)

    async def _status(self, actor: str, id: str, digest: int | None) -> dict[str, Any]:
        """What is known of a command now, as a RunStatus."""
        entry = await self._source.inbox_entry(actor, id)
        if entry is not None and digest in (None, entry.digest):
            result = msgspec.Raw(entry.result.encode())
            if not entry.failed:
                return {"status": "done", "seq": entry.seq, "result": result}
            failure = msgspec.json.decode(entry.result, type=Failure)
            status = "rejected" if failure.code == "rejected" else "failed"
            return {"status": status, "seq": entry.seq, "error": result}
        pending = await self._source.pending_entry(actor, id)
        if pending is not None and digest in (None, pending[3]):
            return {"status": "accepted"}
        refusal = await self._source.refusal(actor, id, digest)
        if refusal is not None:
            return {"status": "failed", "seq": refusal.seq, "error": msgspec.Raw(refusal.failure.encode())}
        if entry is not None:
            return {"status": "failed", "seq": entry.seq, "error": id_reused(id)}
        return {"status": "unknown"}
