"""Approvals on the wire: what a person is asked, and what came of it. Times are Unix seconds."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

KIND: Final = "approval"
"""The kind of the actors that are approvals, one each; the key is the approval's id."""

DESK: Final = "approvals"
DESK_KEY: Final = "open"
"""The actor that knows which approvals of the tenant are pending."""

MODULE: Final = "actors.approvals"
"""What a pod is given to serve them."""

Status = Literal["pending", "approved", "rejected", "expired", "withdrawn"]


class Run(msgspec.Struct, frozen=True):
    """The run that asks: its actor, and the id of its command."""

    kind: str
    key: str
    id: str


class Spec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is asked, by which run, and who may decide.

    name              what it is about, as a person reads it
    payload           any JSON value, shown to who decides
    required_roles    who decides has one of them; empty: whoever may call the tenant's actors
    timeout_s         seconds after which nobody may decide any more; None for no end
    escalate_to       roles that may decide as well once `timeout_s` is over: nobody has decided by then
    escalate_timeout_s   seconds that these have; then it expires
    """

    name: str
    run: Run
    payload: Any = None
    required_roles: tuple[str, ...] = ()
    timeout_s: float | None = None
    escalate_to: tuple[str, ...] = ()
    escalate_timeout_s: float | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of an approval; `approved` is True only when a person said so."""

    status: Status
    by: str | None = None
    comment: str = ""
    at: float = 0.0

    @property
    def approved(self) -> bool:
        return self.status == "approved"


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """All there is to know of an approval. `roles` may decide it now, until `expires_at`."""

    id: str
    spec: Spec
    outcome: Outcome
    requested_at: float
    roles: tuple[str, ...] = ()
    expires_at: float | None = None
    escalated: bool = False


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pending approval as the desk shows it."""

    id: str
    name: str
    kind: str
    key: str
    roles: tuple[str, ...]
    requested_at: float
    expires_at: float | None = None
    escalated: bool = False


class Page(msgspec.Struct, frozen=True):
    """Pending approvals by id; `after` is where the next page begins, or None when there is none."""

    approvals: list[Summary]
    after: str | None = None


def signal_name(id: str) -> str:
    """The signal by which the run hears that its approval has ended. It says no more: the approval knows how."""
    return f"approval {id}"
