"""Commands that were parked, for a person to read, replay in place, or drop: /dead.

Whoever has a key of the tenant may do all of it; who did what is an event on the actor.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from gateway.auth import Caller
from gateway.context import decoded, gateway_of, json_body
from gateway.errors import ErrorDocument
from gateway.responses import AnyRequest, Json
from runtime.client import Client
from runtime.client.orders import settle
from runtime.errors import CallFailed, Rejected

TIMEOUT_S = 5.0
MAX_ID = 2**63 - 1
MAX_LIMIT = 1000

Status = Literal["parked", "replayed", "dropped", "all"]
Letter = Annotated[int, Parameter(ge=1, le=MAX_ID, description="The dead letter's number")]


class DeadLetter(msgspec.Struct):
    """A command that was parked: `code` and `error` say why, `status` what became of it since. Times are RFC 3339."""

    id: int
    kind: str
    key: str
    method: str
    command_id: str
    code: str
    error: str
    attempts: int
    parked_at: str
    status: str
    resolved_at: str | None
    resolved_by: str | None


class DeadPage(msgspec.Struct):
    """Dead letters by number; `more`: there may be more, behind the last one's number."""

    letters: list[DeadLetter]
    more: bool


class WholeDeadLetter(DeadLetter):
    """A dead letter with its message: the headers as JSON text, and of its body the first 64 KiB as text."""

    headers: str
    body: str
    body_bytes: int


class Resolution(msgspec.Struct, forbid_unknown_fields=True):
    """Why; kept in the log."""

    reason: str = ""


class Resolved(msgspec.Struct):
    """What became of a dead letter; `seq` is the actor's sequence number after it, 0 where no pod serves the kind."""

    id: int
    status: Literal["replayed", "dropped"]
    kind: str
    key: str
    seq: int


class _Found(msgspec.Struct):
    letter: WholeDeadLetter | None


_encode = msgspec.json.Encoder().encode
_decode_resolution: msgspec.json.Decoder[Resolution] = msgspec.json.Decoder(Resolution)


def _error(description: str) -> ResponseSpec:
    return ResponseSpec(ErrorDocument, description=description, generate_examples=False)


_NOT_FOUND = _error("No such dead letter, or its body is gone")
_CONFLICT = _error("It was replayed or dropped already")
_NOT_NOW = _error("Not now; see Retry-After")
_RESOLVED = {
    200: ResponseSpec(Resolved, description="What became of it", generate_examples=False),
    404: _NOT_FOUND,
    409: _CONFLICT,
    503: _NOT_NOW,
}


@get(
    "/dead",
    responses={
        200: ResponseSpec(DeadPage, description="Dead letters", generate_examples=False),
        503: _NOT_NOW,
    },
    summary="Which commands were parked",
)
async def get_dead(
    request: AnyRequest,
    kind: str | None = None,
    key: str | None = None,
    status: Status = "parked",
    after: Annotated[int, Parameter(ge=0, le=MAX_ID, description="Begin behind this number: the next page")] = 0,
    limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT)] = 100,
) -> Response[Any]:
    """Dead letters by their numbers; those that still wait, if nothing else is asked for."""
    client, _ = await gateway_of(request).admit(request)
    question = {
        "tenant": client.tenant,
        "kind": kind,
        "key": key,
        "status": None if status == "all" else status,
        "after_id": after,
        "limit": limit,
    }
    return Json(_encode(await client.service("dead", question, type=DeadPage, timeout_s=TIMEOUT_S)))


@get(
    "/dead/{letter:int}",
    responses={
        200: ResponseSpec(WholeDeadLetter, description="The dead letter", generate_examples=False),
        404: _NOT_FOUND,
        503: _NOT_NOW,
    },
    summary="One command that was parked",
)
async def get_dead_letter(request: AnyRequest, letter: Letter) -> Response[Any]:
    """A dead letter with its headers and body."""
    client, _ = await gateway_of(request).admit(request)
    return Json(_encode(await _find(client, letter)))


@post("/dead/{letter:int}/replay", status_code=200, responses=_RESOLVED, summary="Replay a command that was parked")
async def replay_dead_letter(request: AnyRequest, letter: Letter) -> Response[Any]:
    """Gives the command to its actor once more, under its own id, behind what waits for the actor now."""
    client, caller = await gateway_of(request).admit(request)
    body = await json_body(request)
    resolution = decoded(body, _decode_resolution) if body.strip() else Resolution()
    return await _resolve(client, caller, letter, "replay", resolution.reason)


@delete("/dead/{letter:int}", status_code=200, responses=_RESOLVED, summary="Drop a command that was parked")
async def drop_dead_letter(request: AnyRequest, letter: Letter, reason: str = "") -> Response[Any]:
    """Settles a dead letter without another attempt. It stays in the list of the dropped."""
    client, caller = await gateway_of(request).admit(request)
    return await _resolve(client, caller, letter, "drop", reason)


async def _resolve(
    client: Client, caller: Caller, number: int, what: Literal["replay", "drop"], reason: str
) -> Response[Any]:
    letter = await _find(client, number)
    if letter.status != "parked":
        raise Rejected(f"dead letter {number} was {letter.status} already")
    seq = await settle(client, number, letter.kind, letter.key, what, caller.principal, reason, timeout_s=TIMEOUT_S)
    status: Literal["replayed", "dropped"] = "replayed" if what == "replay" else "dropped"
    return Json(_encode(Resolved(number, status, letter.kind, letter.key, seq)))


async def _find(client: Client, number: int) -> WholeDeadLetter:
    question = {"tenant": client.tenant, "id": number}
    found: _Found = await client.service("dead", question, type=_Found, timeout_s=TIMEOUT_S)
    if found.letter is None:
        raise CallFailed("not_found", f"there is no dead letter {number}: see GET /dead")
    return found.letter
