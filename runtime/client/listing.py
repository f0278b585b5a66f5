"""Runs of a tenant: pages of them, and one with its timeline, as any pod reads them of the log."""

from __future__ import annotations

import datetime
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from runtime.errors import CallFailed
from schemas.timeline import ListedRun, RunDescription, RunPage

if TYPE_CHECKING:
    from runtime.client.client import Client

MOMENTS = 500
"""Moments of a timeline that one message carries."""


class _Found(msgspec.Struct):
    run: RunDescription | None


async def page(
    client: Client,
    *,
    status: Sequence[str] = (),
    kind: str | None = None,
    key: str | None = None,
    tag: str | None = None,
    since: datetime.datetime | None = None,
    cursor: str | None = None,
    limit: int = 100,
    timeout_s: float = 10.0,
) -> RunPage:
    """A page of runs, the latest first.

    Args:
        status: of these states (schemas.timeline.ListedRun), `live` for all that go on, `ended` for the others.
        kind, key, tag: only those of this kind, this key, with this tag.
        since: only those that were accepted then or later.
        cursor: of the page before.
        limit: at most so many, and at most 1000.

    Raises CallFailed (bad_request, unavailable).
    """
    question = {
        "tenant": client.tenant,
        "statuses": list(status) or None,
        "kind": kind,
        "key": key,
        "tag": tag,
        "since": since,
        "cursor": cursor,
        "limit": limit,
    }
    found: RunPage = await client.service("runs", question, type=RunPage, timeout_s=timeout_s)
    return found


async def every(client: Client, **wanted: Any) -> AsyncGenerator[ListedRun, None]:
    """All runs that fit, page after page. For `wanted` see `page`."""
    cursor: str | None = None
    while True:
        found = await page(client, cursor=cursor, **wanted)
        for run in found.runs:
            yield run
        cursor = found.cursor
        if cursor is None:
            return


async def describe(
    client: Client, kind: str, key: str, id: str, *, moments: int = 10_000, timeout_s: float = 10.0
) -> RunDescription:
    """A run with its timeline, of at most `moments` moments. Raises CallFailed (not_found, unavailable)."""
    whole: RunDescription | None = None
    while True:
        known = whole.timeline if whole is not None else []
        question = {
            "tenant": client.tenant,
            "kind": kind,
            "key": key,
            "run": id,
            "from_seq": known[-1].seq + 1 if known else 1,
            "limit": min(MOMENTS, max(moments - len(known), 1)),
        }
        found: RunDescription | None = (
            await client.service("run", question, type=_Found, timeout_s=timeout_s)
        ).run
        if found is None:
            raise CallFailed(
                "not_found",
                f"{kind}/{key} has no run {id!r}: it is no execution, its command has not been taken yet, or its end "
                "is longer ago than ended runs are kept",
            )
        found.timeline = known + found.timeline
        whole = found
        if not found.more or len(found.timeline) >= moments:
            return whole
