"""What is said to a running execution: POST /runs/{id}/signal, /update and /cancel."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec

from gateway.context import decoded, gateway_of, json_body
from gateway.errors import ErrorDocument
from gateway.responses import AnyRequest, Json
from runtime.client.runs import Run

TIMEOUT_S = 30.0


class SignalBody(msgspec.Struct, forbid_unknown_fields=True):
    """A value for the run's handler, under the name for which it waits; `id` makes a repeat harmless."""

    name: str
    value: Any = None
    id: str | None = None


class UpdateBody(SignalBody, forbid_unknown_fields=True):
    """The same, whose answer is waited for."""


class CancelBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why; the handler is told, and so is who waits for the run."""

    reason: str = ""
    id: str | None = None


class Said(msgspec.Struct):
    """It is in the log. `result` is the handler's answer to an update."""

    run_id: str
    result: msgspec.Raw | None = None


_encode = msgspec.json.Encoder().encode
_decode_signal: msgspec.json.Decoder[SignalBody] = msgspec.json.Decoder(SignalBody)
_decode_update: msgspec.json.Decoder[UpdateBody] = msgspec.json.Decoder(UpdateBody)
_decode_cancel: msgspec.json.Decoder[CancelBody] = msgspec.json.Decoder(CancelBody)

_ANSWERS = {
    200: ResponseSpec(Said, description="It is in the log", generate_examples=False),
    409: ResponseSpec(ErrorDocument, description="The run has ended, or refused it", generate_examples=False),
    503: ResponseSpec(ErrorDocument, description="Not now; see Retry-After", generate_examples=False),
}


@post("/runs/{run_id:str}/signal", status_code=200, responses=_ANSWERS, summary="Send a running handler a value")
async def signal_run(request: AnyRequest, run_id: str) -> Response[Any]:
    """The handler gets it from ctx.signal, now or when it asks for it."""
    run = await _run(request, run_id)
    body = decoded(await json_body(request), _decode_signal)
    await run.signal(body.name, body.value, id=body.id, timeout_s=TIMEOUT_S)
    return Json(_encode(Said(run_id)))


@post("/runs/{run_id:str}/update", status_code=200, responses=_ANSWERS, summary="Ask a running handler")
async def update_run(request: AnyRequest, run_id: str) -> Response[Any]:
    """The handler gets it from ctx.update, and its answer is the result."""
    run = await _run(request, run_id)
    body = decoded(await json_body(request), _decode_update)
    result = await run.update(body.name, body.value, type=msgspec.Raw, id=body.id, timeout_s=TIMEOUT_S)
    return Json(_encode(Said(run_id, result)))


@post("/runs/{run_id:str}/cancel", status_code=200, responses=_ANSWERS, summary="Cancel a run")
async def cancel_run(request: AnyRequest, run_id: str) -> Response[Any]:
    """Tells its handler to end; what becomes of it, GET /runs/{run_id} says."""
    run = await _run(request, run_id)
    body = decoded(await json_body(request), _decode_cancel)
    await run.cancel(body.reason, id=body.id, timeout_s=TIMEOUT_S)
    return Json(_encode(Said(run_id)))


async def _run(request: AnyRequest, run_id: str) -> Run:
    gateway = gateway_of(request)
    client, _ = await gateway.admit(request)
    run = client.run(run_id)
    await gateway.find_kind(client, run.kind)
    return run
