"""Asking a person: `await ctx.human.approval("refund", {"amount": 900}, required_roles=["manager"])`.

The approval is an actor of its own (actors/approvals.py), which checks who decides; a pod must serve it. The run waits
for it as it does for any signal: for as long as it takes, through any crash, at the cost of a row.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from hashlib import blake2b
from typing import Any, Protocol

from schemas.address import Address
from schemas.approvals import KIND, Outcome, Run, Spec, signal_name


class Asking(Protocol):
    """What is needed of a context."""

    @property
    def address(self) -> Address: ...
    @property
    def command_id(self) -> str: ...
    def ask(self, kind: Any, key: str, command: Any, args: Any = None, *, type: Any = Any) -> Awaitable[Any]: ...
    def signal(self, name: str) -> Awaitable[Any]: ...


class Human:
    """The people that a run asks; one for each attempt, since it counts what was asked before."""

    def __init__(self, ctx: Asking, generation: int = 0) -> None:
        """`generation`: how often the run has continued as new; what it asks then are other questions."""
        self._ctx = ctx
        self._again = f"/{generation}" if generation else ""
        self._asked: Counter[str] = Counter()

    async def approval(
        self,
        name: str,
        payload: Any = None,
        *,
        required_roles: Sequence[str] = (),
        timeout_s: float | None = None,
        escalate_to: Sequence[str] = (),
        escalate_timeout_s: float | None = None,
    ) -> Outcome:
        """Waits until a person with one of `required_roles` has approved or rejected, and gives what came of it.

        Its `status` is `approved`, `rejected`, `expired` or (by somebody else) `withdrawn`; `approved` is True only for
        the first. When `timeout_s`
        seconds are over the roles `escalate_to` may decide as well, for `escalate_timeout_s` (None: as long as it
        takes); without any it expires. A run that is cancelled takes its question back. For `async` handlers.

        Raises Rejected for what cannot be asked, and CallFailed when the approval's actor does not answer.
        """
        ctx = self._ctx
        tenant, kind, key = ctx.address
        number = self._asked[name]
        self._asked[name] += 1
        asked = f"{tenant}/{kind}/{key}/{ctx.command_id}{self._again}/{name}/{number}"
        id = blake2b(asked.encode(), digest_size=12).hexdigest()
        spec = Spec(
            name,
            Run(kind, key, ctx.command_id),
            payload,
            tuple(required_roles),
            timeout_s,
            tuple(escalate_to),
            escalate_timeout_s,
        )
        try:
            await ctx.ask(KIND, id, "request", spec)
            while True:
                outcome: Outcome = await ctx.ask(KIND, id, "outcome", type=Outcome)
                if outcome.status != "pending":
                    return outcome
                await ctx.signal(signal_name(id))
        except asyncio.CancelledError:
            await ctx.ask(KIND, id, "withdraw", {"reason": "the run was cancelled"})
            raise
