"""A submitted command that may be taken up again anywhere: its run id finds it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.client import forking, listing
from runtime.client.calls import Watch
from runtime.client.failures import decode_as, encode_body, error_of
from runtime.client.large import place_of
from runtime.client.orders import settle
from runtime.errors import CallFailed, Rejected
from schemas import control
from schemas.runs import RunStatus, encode_run_id
from schemas.timeline import RunDescription
from schemas.wire import Reply

if TYPE_CHECKING:
    from runtime.client.client import Client

RESULT_QUERY = "$result"
LONGEST_WAIT_S = 10.0
PAUSE_S = 0.25

_decode_status = msgspec.json.Decoder(RunStatus).decode


class Run:
    """One submitted command. Made by `Client.submit`, or from its id by `Client.run`."""

    def __init__(
        self,
        client: Client,
        kind: str,
        key: str,
        command_id: str,
        digest: int | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._client = client
        self._watch = watch
        self.kind = kind
        self.key = key
        self.command_id = command_id
        self.digest = digest
        self.id = encode_run_id(kind, key, command_id, digest)

    def __repr__(self) -> str:
        return f"<Run {self.kind}/{self.key} {self.command_id}>"

    async def status(self, *, wait_s: float = 0.0, timeout_s: float = 10.0) -> RunStatus:
        """What is known of the run now, or after up to `wait_s` seconds if it settles within them.

        Raises CallFailed (unavailable) when the owner does not answer within `timeout_s` seconds on top of that.
        """
        question: dict[str, Any] = {"id": self.command_id}
        if wait_s > 0:
            question["wait_s"] = wait_s
        if self.digest is not None:
            question["digest"] = self.digest
        reply = await self._client.read(
            self.kind,
            self.key,
            RESULT_QUERY,
            msgspec.json.encode(question),
            timeout_s=wait_s + timeout_s,
            attempt_s=wait_s + 5.0,
        )
        return _decode_status(reply.result)

    async def settled(self, timeout_s: float) -> RunStatus:
        """What is known of the run when it settles, or once `timeout_s` seconds are over.

        Raises CallFailed (unavailable) when the owner never answered in that time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        status: RunStatus | None = None
        trouble: CallFailed | None = None
        while True:
            wait_s = max(min(LONGEST_WAIT_S, deadline - loop.time()), 0.0)
            asked_at = loop.time()
            try:
                status = await self._either(wait_s, max(deadline - asked_at, 0.5))
            except CallFailed as error:
                if error.code != "unavailable":
                    raise
                trouble = error
            if status is not None and status.settled:
                return status
            if loop.time() >= deadline:
                break
            # An owner that leaves answers before the wait is over; the next one may need a moment.
            await asyncio.sleep(max(min(PAUSE_S - (loop.time() - asked_at), deadline - loop.time()), 0.0))
        if status is None:
            raise trouble or CallFailed("unavailable", f"the owner of {self.kind}/{self.key} did not answer")
        return status

    async def result(self, type: Any = Any, *, timeout_s: float = 30.0) -> Any:
        """The run's result, decoded to `type`, once it is done.

        Raises Rejected or CallFailed as the command ended, and CallFailed (timeout) when it has not within `timeout_s`
        seconds; it goes on, and can be asked for again.
        """
        status = await self.settled(timeout_s)
        if status.error is not None:
            raise error_of(status.error)
        if status.status != "done":
            raise CallFailed(
                "timeout",
                f"run {self.id} ({self.kind}/{self.key}) is not done after {timeout_s:g} s (its status is "
                f"{status.status!r}): ask again later",
                details={"run_id": self.id},
            )
        return decode_as(status.result, type)

    async def signal(self, name: str, value: Any = None, *, id: str | None = None, timeout_s: float = 30.0) -> None:
        """Sends the run's handler a value, for which it may wait under that name; returns once it is in the log.

        Raises CallFailed (not_running) when the run has ended, or its command has not arrived yet. `id` as of `ask`.
        """
        await self._say(control.SIGNAL, control.Signal(self.command_id, name, value), id, timeout_s, Any)

    async def update(
        self, name: str, value: Any = None, *, type: Any = Any, id: str | None = None, timeout_s: float = 30.0
    ) -> Any:
        """Like `signal`, and gives what the handler answers, decoded to `type`.

        Raises Rejected when the handler refuses, CallFailed (not_running) when it ends without an answer.
        """
        return await self._say(control.UPDATE, control.Update(self.command_id, name, value), id, timeout_s, type)

    async def cancel(self, reason: str = "", *, id: str | None = None, timeout_s: float = 30.0) -> None:
        """Tells the run to end; returns once that is in the log. What becomes of it is up to its handler, see `result`.

        Raises CallFailed (not_running) as `signal` does.
        """
        await self._say(control.CANCEL, control.Cancel(self.command_id, reason), id, timeout_s, Any)

    async def terminate(
        self, reason: str = "", *, by: str = "", id: str | None = None, timeout_s: float = 30.0
    ) -> None:
        """Ends the run without its handler; returns once that is in the log. Nothing that it did is undone.

        Raises CallFailed (not_running) as `signal` does.
        """
        await self._say(control.TERMINATE, control.Terminate(self.command_id, reason, by), id, timeout_s, Any)

    async def describe(self, *, moments: int = 10_000, timeout_s: float = 10.0) -> RunDescription:
        """What the run is, what it waits for, and its timeline. Raises CallFailed (not_found, unavailable)."""
        return await listing.describe(
            self._client, self.kind, self.key, self.command_id, moments=moments, timeout_s=timeout_s
        )

    async def retry(self, reason: str = "", *, by: str | None = None, timeout_s: float = 10.0) -> None:
        """Lets a parked run go on: its dead letter is replayed, and what it has completed is not done again.

        Raises Rejected when it is not parked, CallFailed (not_found, unavailable).
        """
        found = await self.describe(moments=1, timeout_s=timeout_s)
        if found.dead_letter is None:
            raise Rejected(f"run {self.id} is not parked but {found.status}: only a parked run can be retried")
        self._watch = None  # it has brought the failure
        await settle(
            self._client, found.dead_letter, self.kind, self.key, "replay", by, reason, timeout_s=timeout_s
        )

    async def fork(self, at_step: int, **given: Any) -> Run:
        """A new run with what this one recorded before its step `at_step`; see runtime.client.forking.fork."""
        return await forking.fork(self._client, self, at_step, **given)

    async def restart(self, from_step: int, **given: Any) -> Run:
        """Ends this run and forks it on the same actor; see runtime.client.forking.restart."""
        return await forking.restart(self._client, self, from_step, **given)

    async def _say(self, method: str, body: Any, id: str | None, timeout_s: float, type: Any) -> Any:
        reply = await self._client.call(
            self.kind, self.key, method, encode_body(body), timeout_s=timeout_s, id=id
        )
        if reply.error is not None:
            raise error_of(reply.error)
        return decode_as(reply.result, type)

    async def _either(self, wait_s: float, timeout_s: float) -> RunStatus:
        """The owner's answer, or the reply that came to this process, whichever is first."""
        if self._watch is not None and self._watch.reply.done() and place_of(self._watch.reply.result().error):
            self._watch = None  # it is large: the owner has it as well
        if self._watch is None:
            return await self.status(wait_s=wait_s, timeout_s=timeout_s)
        if self._watch.reply.done():
            return _status_of(self._watch.reply.result())
        query = asyncio.ensure_future(self.status(wait_s=wait_s, timeout_s=timeout_s))
        try:
            await asyncio.wait((query, self._watch.reply), return_when=asyncio.FIRST_COMPLETED)
            told = self._watch.reply.result() if self._watch.reply.done() else None
            return _status_of(told) if told is not None and not place_of(told.error) else await query
        finally:
            query.cancel()


def _status_of(reply: Reply) -> RunStatus:
    if reply.error is None:
        return RunStatus("done", reply.seq, reply.result)
    return RunStatus(
        "rejected" if isinstance(error_of(reply.error), Rejected) else "failed", reply.seq, error=reply.error
    )
