"""What waits of a tenant, as pods say it, and how much may."""

from __future__ import annotations

from typing import Final

import msgspec

SAID_EVERY_S: Final = 1.0
BELIEVED_S: Final = 3.0
"""How long a pod's word counts: what it says no more is no more."""


class Backlog(msgspec.Struct):
    """One pod's word on `backlog(tenant)` (schemas.subjects), while it reads the tenant apart from others.

    `waiting` are commands of the tenant in its lanes that are not done, `limit` how many there may be over all pods,
    0 for any number. `tenant` is named for those who listen to all.
    """

    tenant: str
    pod: str
    waiting: int
    limit: int = 0
