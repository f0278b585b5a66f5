"""Beginning a run anew where another one was: as a new run beside it (fork), or in its place (restart)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from runtime.client.envelope import Envelope
from runtime.client.failures import checked_id
from runtime.client.orders import settle
from runtime.errors import CallFailed, Rejected
from schemas import headers
from schemas.address import Address
from schemas.control import fork_header
from schemas.timeline import ENDED, RunDescription

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.client.runs import Run

WORKFLOW = "workflow"
"""The type of kinds whose actors' keys are their runs: a fork needs a key of its own."""


async def fork(
    client: Client,
    run: Run,
    at_step: int,
    *,
    body: bytes | None = None,
    key: str | None = None,
    id: str | None = None,
    tags: Sequence[str] | None = None,
    timeout_s: float = 30.0,
) -> Run:
    """Submits a new run that begins with what `run` recorded before its step `at_step`, from 1 as its timeline counts.

    Args:
        body: its arguments as JSON; None for those of `run`.
        key: the new run's actor; else the same one, and of a workflow `<key>-fork-<id>`.
        id: the new run's command id; with the same one a repeat makes no second run.
        tags: of the new run; None for those of `run`.

    Raises CallFailed (bad_request: there is no such step, or the arguments were too large to be kept; not_found,
    unavailable).
    """
    found = await run.describe(moments=1, timeout_s=timeout_s)
    return await _begin(client, found, at_step, body, key, id, tags, timeout_s)


async def restart(
    client: Client,
    run: Run,
    from_step: int,
    *,
    body: bytes | None = None,
    id: str | None = None,
    by: str | None = None,
    reason: str = "",
    timeout_s: float = 30.0,
) -> Run:
    """Ends `run` where it is (it is terminated, its dead letter dropped), and forks it on the same actor.

    Raises Rejected for a workflow, whose key is its run, and as `fork` does.
    """
    found = await run.describe(moments=1, timeout_s=timeout_s)
    if await _is_workflow(client, found.kind):
        raise Rejected(f"{found.kind}/{found.key} is a workflow, whose key is its run: fork it, which has a new key")
    _check(found, from_step, body)
    if id is not None and checked_id(id) == found.id:
        raise CallFailed("id_reused", f"{id!r} is the id of the run itself: the new one needs another, or none")
    reason = reason or f"restarted from step {from_step}"
    if found.status not in ENDED:
        await run.terminate(reason, by=by or "", timeout_s=timeout_s)
    elif found.dead_letter is not None:
        await settle(client, found.dead_letter, found.kind, found.key, "drop", by, reason, timeout_s=timeout_s)
    return await _begin(client, found, from_step, body, found.key, id, None, timeout_s)


async def _begin(
    client: Client,
    found: RunDescription,
    at: int,
    body: bytes | None,
    key: str | None,
    id: str | None,
    tags: Sequence[str] | None,
    timeout_s: float,
) -> Run:
    _check(found, at, body)
    if body is None:
        body = b"" if found.arguments is None else msgspec.json.encode(found.arguments)
    id = id or client.new_id()
    if key is None:
        key = f"{found.key}-fork-{id}" if await _is_workflow(client, found.kind) else found.key
    origin = fork_header(Address(client.tenant, found.kind, found.key), found.id, at)
    envelope = Envelope(headers={headers.FORK: origin}, tags=found.tags if tags is None else tags)
    return await client.submit_body(
        found.kind, key, found.method, body, id=id, timeout_s=timeout_s, envelope=envelope
    )


def _check(found: RunDescription, at: int, body: bytes | None) -> None:
    if not 1 <= at <= found.steps + 1:
        text = f"run {found.run_id} has completed {found.steps} steps: begin at one of 1 to {found.steps + 1}"
        raise CallFailed("bad_request", text)
    if body is None and not found.has_arguments:
        raise CallFailed(
            "bad_request", f"the arguments of run {found.run_id} were too large to be kept, or are no JSON: give them"
        )


async def _is_workflow(client: Client, kind: str) -> bool:
    return any((one.kind, one.type) == (kind, WORKFLOW) for one in await client.capabilities())
