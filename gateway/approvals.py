"""What runs wait for a person to decide: /approvals (actors/approvals.py)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from gateway.context import decoded, gateway_of, json_body
from gateway.errors import ErrorDocument
from gateway.responses import AnyRequest, Json
from schemas.approvals import Description, Outcome, Page

MAX_LIMIT = 1000
TIMEOUT_S = 10.0


class DecisionBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why; kept in the log."""

    comment: str = ""


_encode = msgspec.json.Encoder().encode
_decode: msgspec.json.Decoder[DecisionBody] = msgspec.json.Decoder(DecisionBody)


def _answers(type: Any, description: str) -> dict[int, ResponseSpec]:
    def error(text: str) -> ResponseSpec:
        return ResponseSpec(ErrorDocument, description=text, generate_examples=False)

    return {
        200: ResponseSpec(type, description=description, generate_examples=False),
        403: error("Another role decides"),
        404: error("No such approval, or no pod serves any"),
        409: error("It is decided, or over"),
        503: error("Not now; see Retry-After"),
    }


@get("/approvals", responses=_answers(Page, "Pending approvals by id"), summary="What waits for a person")
async def get_approvals(
    request: AnyRequest,
    role: Annotated[str | None, Parameter(description="Those that this role may decide")] = None,
    after: Annotated[str, Parameter(description="Begin behind this id: the next page")] = "",
    limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT)] = 100,
) -> Response[Any]:
    """The tenant's pending approvals; `after` in the answer is where the next page begins."""
    client, _ = await gateway_of(request).admit(request)
    return Json(_encode(await client.approvals.list(role=role, after=after, limit=limit, timeout_s=TIMEOUT_S)))


@get("/approvals/{id:str}", responses=_answers(Description, "The approval"), summary="One approval")
async def get_approval(request: AnyRequest, id: str) -> Response[Any]:
    """What is asked, who may decide it, and what came of it."""
    client, _ = await gateway_of(request).admit(request)
    return Json(_encode(await client.approvals.describe(id, timeout_s=TIMEOUT_S)))


@post("/approvals/{id:str}/approve", status_code=200, responses=_answers(Outcome, "The outcome"), summary="Approve")
async def approve(request: AnyRequest, id: str) -> Response[Any]:
    """Approves, as who the API key says. The same again gives the same answer."""
    return await _decided(request, id, approve=True)


@post("/approvals/{id:str}/reject", status_code=200, responses=_answers(Outcome, "The outcome"), summary="Reject")
async def reject(request: AnyRequest, id: str) -> Response[Any]:
    """Rejects, as who the API key says. The same again gives the same answer."""
    return await _decided(request, id, approve=False)


ROUTES = [get_approvals, get_approval, approve, reject]


async def _decided(request: AnyRequest, id: str, *, approve: bool) -> Response[Any]:
    client, caller = await gateway_of(request).admit(request)
    body = await json_body(request)
    comment = decoded(body, _decode).comment if body.strip() else ""
    outcome = await client.approvals.decide(
        id, approve=approve, comment=comment, principal=caller.principal, roles=caller.roles, timeout_s=TIMEOUT_S
    )
    return Json(_encode(outcome))
