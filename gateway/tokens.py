"""Steps completed from outside: POST /tokens/{token}/complete and /fail."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec

from gateway.context import decoded, gateway_of, json_body
from gateway.errors import ErrorDocument
from gateway.responses import AnyRequest, Json
from runtime.client import completing

TIMEOUT_S = 30.0


class CompleteBody(msgspec.Struct, forbid_unknown_fields=True):
    """What came of the step."""

    value: Any = None


class FailBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why the step failed."""

    reason: str


class Used(msgspec.Struct):
    """It is in the log."""

    status: str


_decode_complete: msgspec.json.Decoder[CompleteBody] = msgspec.json.Decoder(CompleteBody)
_decode_fail: msgspec.json.Decoder[FailBody] = msgspec.json.Decoder(FailBody)
_ANSWERS = {
    200: ResponseSpec(Used, description="It is in the log; the same again does nothing", generate_examples=False),
    400: ResponseSpec(ErrorDocument, description="This is no token", generate_examples=False),
    403: ResponseSpec(ErrorDocument, description="The token is another tenant's", generate_examples=False),
    404: ResponseSpec(ErrorDocument, description="No run handed out this token", generate_examples=False),
    409: ResponseSpec(ErrorDocument, description="It was used already, or the run has ended", generate_examples=False),
}


@post("/tokens/{token:str}/complete", status_code=200, responses=_ANSWERS, summary="Complete a step from outside")
async def complete_token(request: AnyRequest, token: str) -> Response[Any]:
    """The step that handed out the token has this value as its result."""
    client, _ = await gateway_of(request).admit(request)
    body = decoded(await json_body(request), _decode_complete)
    await completing.complete(client, token, body.value, timeout_s=TIMEOUT_S)
    return Json(msgspec.json.encode(Used("completed")))


@post("/tokens/{token:str}/fail", status_code=200, responses=_ANSWERS, summary="Fail a step from outside")
async def fail_token(request: AnyRequest, token: str) -> Response[Any]:
    """The step that handed out the token has failed."""
    client, _ = await gateway_of(request).admit(request)
    body = decoded(await json_body(request), _decode_fail)
    await completing.complete(client, token, error=body.reason, timeout_s=TIMEOUT_S)
    return Json(msgspec.json.encode(Used("failed")))


ROUTES = (complete_token, fail_token)
