"""Actors over HTTP: DELETE /actors/{kind}/{key}."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, delete
from litestar.openapi.datastructures import ResponseSpec

from gateway.auth import LOCAL
from gateway.context import gateway_of
from gateway.errors import ErrorDocument
from gateway.responses import AnyRequest, Json
from runtime.client.orders import Deleted
from runtime.errors import CallFailed

ADMIN = "admin"
"""The role of who may delete; a gateway without API keys serves its own machine alone, whose people are."""

TIMEOUT_S = 60.0

_ANSWERS = {
    200: ResponseSpec(Deleted, description="What became of it", generate_examples=False),
    403: ResponseSpec(ErrorDocument, description="Another role than admin", generate_examples=False),
    404: ResponseSpec(ErrorDocument, description="No such kind", generate_examples=False),
    409: ResponseSpec(ErrorDocument, description="It works, or has no events", generate_examples=False),
    503: ResponseSpec(ErrorDocument, description="Not now; see Retry-After", generate_examples=False),
}


@delete(
    "/actors/{kind:str}/{key:path}", status_code=200, responses=_ANSWERS, summary="Delete an actor with its history"
)
async def delete_actor(
    request: AnyRequest, kind: str, key: str, force: bool = False, reason: str = ""
) -> Response[Any]:
    """Takes away its events, state, runs and what waits for it, and says what is left; `force` ends what it does."""
    gateway = gateway_of(request)
    client, caller = await gateway.admit(request)
    if caller is not LOCAL and ADMIN not in caller.roles:
        raise CallFailed("forbidden", f"an actor is deleted by somebody with the role {ADMIN!r}")
    await gateway.find_kind(client, kind)
    name = key.removeprefix("/")  # a path, since a key may hold slashes, and servers decode %2F
    deleted = await client.delete(kind, name, by=caller.principal, reason=reason, force=force, timeout_s=TIMEOUT_S)
    return Json(msgspec.json.encode(deleted))


ROUTES = (delete_actor,)
