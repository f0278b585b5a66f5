"""Approvals: what runs wait for a person to decide (actors/approvals.py). A pod must serve them.

    page = await client.approvals.list(role="manager")
    await client.approvals.decide(page.approvals[0].id, approve=True, principal="ann", roles=("manager",))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.errors import CallFailed, Rejected
from schemas.approvals import DESK, DESK_KEY, KIND, MODULE, Description, Outcome, Page

if TYPE_CHECKING:
    from runtime.client.client import Client


class Approvals:
    """The approvals of a client's tenant; `Client.approvals`.

    Every method raises CallFailed: `not_found` for an approval that nobody has asked for, `unknown_kind` when no pod
    serves approvals. `timeout_s` is in seconds.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(
        self, *, role: str | None = None, after: str = "", limit: int = 100, timeout_s: float = 10.0
    ) -> Page:
        """At most `limit` pending approvals behind the id `after`; with `role`, those that it may decide."""
        await self._check()
        wanted = {"after": after, "limit": limit, "role": role}
        found: Page = await self._client.query(DESK, DESK_KEY, "pending", wanted, type=Page, timeout_s=timeout_s)
        return found

    async def describe(self, id: str, *, timeout_s: float = 10.0) -> Description:
        """All there is to know of an approval."""
        await self._check()
        found: Description | None = await self._client.query(
            KIND, id, "describe", type=Description | None, timeout_s=timeout_s
        )
        if found is None:
            raise CallFailed("not_found", f"there is no approval {id!r}: see `runtime approvals list`")
        return found

    async def decide(
        self,
        id: str,
        *,
        approve: bool,
        comment: str = "",
        principal: str | None = None,
        roles: tuple[str, ...] = (),
        timeout_s: float = 30.0,
    ) -> Outcome:
        """Approves or rejects, as `principal` with these roles, which pods believe of a client with a signing key.

        The same decision again is answered as the first one. Raises CallFailed `forbidden` when another role is asked
        for, and Rejected when it is decided or over already.
        """
        await self._check()
        decision: dict[str, Any] = {"approve": approve, "comment": comment}
        try:
            outcome: Outcome = await self._client.ask(
                KIND, id, "decide", decision, type=Outcome, timeout_s=timeout_s, principal=principal, roles=roles
            )
        except Rejected as error:
            code = error.details.get("code") if isinstance(error.details, dict) else None
            if code in ("forbidden", "not_found"):
                raise CallFailed(code, str(error), details=error.details) from error
            raise
        return outcome

    async def _check(self) -> None:
        try:
            await self._client.check_kind(KIND)
        except CallFailed as error:
            if error.code != "unknown_kind":
                raise
            text = f"no pod serves approvals: run `runtime approvals up`, or a pod with the module {MODULE}"
            raise CallFailed("unknown_kind", text) from error
