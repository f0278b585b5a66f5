"""Completing steps from outside, by the tokens that they handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.client.failures import encode_body, error_of
from runtime.errors import CallFailed, Rejected
from schemas import control
from schemas.tokens import BadToken, parse_token

if TYPE_CHECKING:
    from runtime.client.client import Client


async def complete(
    client: Client, token: str, value: Any = None, *, error: str | None = None, timeout_s: float = 30.0
) -> None:
    """Completes the step that handed out `token`, or with `error` fails it; returns once that is in the log.

    The same again does nothing. Raises Rejected when the token was used with something else before, and CallFailed:
    `bad_request` for what is no token, `forbidden` for another tenant's, `not_found` for one that no run handed out,
    `not_running` when the run has ended.
    """
    try:
        found = parse_token(token)
    except BadToken as problem:
        raise CallFailed("bad_request", str(problem)) from problem
    if found.tenant != client.tenant:
        raise CallFailed("forbidden", f"the token is of another tenant than {client.tenant!r}")
    body = encode_body(control.Complete(found.run, token, value, error))
    try:
        reply = await client.call(
            found.kind, found.key, control.COMPLETE, body, timeout_s=timeout_s, id=found.command_id
        )
    except CallFailed as problem:
        if problem.code == "bad_address":
            raise CallFailed("bad_request", str(problem)) from problem
        raise
    if reply.error is None:
        return
    if reply.error.code == "id_reused":
        raise Rejected(f"this token of {found.kind}/{found.key} was used already, with something else")
    raise error_of(reply.error)
