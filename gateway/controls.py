"""What is said to a run: POST /runs/{id}/signal, /update, /cancel, /terminate and /retry."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec

from gateway.auth import Caller
from gateway.context import decoded, gateway_of, json_body
from gateway.errors import ErrorDocument
from gateway.intent import Accepted, accepted, arguments
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


@post("/runs/{run_id:str}/terminate", status_code=200, responses=_ANSWERS, summary="Terminate a run")
async def terminate_run(request: AnyRequest, run_id: str) -> Response[Any]:
    """Ends it at once, without its handler: nothing that it did is undone."""
    run, caller = await _run_and_caller(request, run_id)
    body = decoded(await json_body(request), _decode_cancel)
    await run.terminate(body.reason, by=caller.principal or "", id=body.id, timeout_s=TIMEOUT_S)
    return Json(_encode(Said(run_id)))


@post("/runs/{run_id:str}/retry", status_code=200, responses=_ANSWERS, summary="Let a parked run go on")
async def retry_run(request: AnyRequest, run_id: str) -> Response[Any]:
    """Replays its dead letter; what it has completed is not done again."""
    run, caller = await _run_and_caller(request, run_id)
    body = await json_body(request)
    reason = decoded(body, _decode_cancel).reason if body.strip() else ""
    await run.retry(reason, by=caller.principal)
    return Json(_encode(Said(run_id)))


class ForkBody(msgspec.Struct, forbid_unknown_fields=True):
    """The first step that is done anew, and the new run's arguments, actor and id where they are others."""

    at_step: Annotated[int, msgspec.Meta(ge=1)]
    args: msgspec.Raw | None = None
    key: str | None = None
    id: str | None = None


class RestartBody(msgspec.Struct, forbid_unknown_fields=True):
    """The first step that is done anew, the arguments if they are others, and why."""

    from_step: Annotated[int, msgspec.Meta(ge=1)]
    args: msgspec.Raw | None = None
    id: str | None = None
    reason: str = ""


_decode_fork: msgspec.json.Decoder[ForkBody] = msgspec.json.Decoder(ForkBody)
_decode_restart: msgspec.json.Decoder[RestartBody] = msgspec.json.Decoder(RestartBody)
_BEGUN = {
    202: ResponseSpec(Accepted, description="The new run is stored and goes on", generate_examples=False),
    404: ResponseSpec(ErrorDocument, description="No such run", generate_examples=False),
    409: _ANSWERS[409],
    503: _ANSWERS[503],
}


@post("/runs/{run_id:str}/fork", status_code=202, responses=_BEGUN, summary="Begin a run like another one")
async def fork_run(request: AnyRequest, run_id: str) -> Response[Any]:
    """A new run with what this one recorded before a step; the timeline numbers the steps."""
    run = await _run(request, run_id)
    body = decoded(await json_body(request), _decode_fork)
    args = None if body.args is None else arguments(body.args)
    return accepted(await run.fork(body.at_step, body=args, key=body.key, id=body.id), None)


@post("/runs/{run_id:str}/restart", status_code=202, responses=_BEGUN, summary="Begin a run again")
async def restart_run(request: AnyRequest, run_id: str) -> Response[Any]:
    """Ends this run where it is, and begins a new one on its actor with what it recorded before a step."""
    run, caller = await _run_and_caller(request, run_id)
    body = decoded(await json_body(request), _decode_restart)
    args = None if body.args is None else arguments(body.args)
    begun = await run.restart(body.from_step, body=args, id=body.id, by=caller.principal, reason=body.reason)
    return accepted(begun, None)


async def _run(request: AnyRequest, run_id: str) -> Run:
    return (await _run_and_caller(request, run_id))[0]


async def _run_and_caller(request: AnyRequest, run_id: str) -> tuple[Run, Caller]:
    gateway = gateway_of(request)
    client, caller = await gateway.admit(request)
    run = client.run(run_id)
    await gateway.find_kind(client, run.kind)
    return run, caller
