"""Which runs there are, what became of each, and what there is to call: GET /runs, /capabilities, /functions."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from gateway.context import gateway_of
from gateway.errors import ErrorBody, ErrorDocument
from gateway.intent import MAX_WAIT_S, Links, links_of
from gateway.responses import AnyRequest, Json
from runtime.client import listing
from runtime.errors import CallFailed
from schemas.timeline import RunDescription, RunPage
from schemas.wire import Capability

_encode = msgspec.json.Encoder().encode


class RunDocument(msgspec.Struct, omit_defaults=True):
    """A run's status.

    pending    no trace of it in the log yet: it waits in the broker, or was never sent
    accepted   durable, and running
    done       `result` is what it gave
    rejected, failed    `error` says why; a command that was refused has failed
    """

    run_id: str
    status: Literal["pending", "accepted", "done", "rejected", "failed"]
    kind: str
    key: str
    id: str
    links: Links
    seq: int = 0
    result: msgspec.Raw | None = None
    error: ErrorBody | None = None


class Function(msgspec.Struct):
    """A function that can be invoked; its arguments and result as JSON Schema."""

    name: str
    description: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    invoke: str


RUN_ANSWERS = {
    200: ResponseSpec(RunDocument, description="The run's status", generate_examples=False),
    503: ResponseSpec(ErrorDocument, description="Not now; see Retry-After", generate_examples=False),
}


@get("/runs/{run_id:str}", responses=RUN_ANSWERS, summary="What became of a command")
async def get_run(request: AnyRequest, run_id: str, wait_s: float = 0.0) -> Response[Any]:
    """The status of a run, after waiting up to `wait_s` seconds for it to end."""
    gateway = gateway_of(request)
    client, _ = await gateway.admit(request)
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise CallFailed("bad_request", f"wait_s is 0 to {MAX_WAIT_S:g} seconds", path="$.wait_s")
    run = client.run(run_id)
    await gateway.find_kind(client, run.kind)
    status = await run.settled(wait_s) if wait_s > 0 else await run.status(timeout_s=3.0)
    error = None
    if status.error is not None:
        error = ErrorBody(status.error.code, status.error.message, status.error.path, status.error.details)
    document = RunDocument(
        run.id,
        "pending" if status.status == "unknown" else status.status,
        run.kind,
        run.key,
        run.command_id,
        links_of(run.id, None),
        status.seq,
        status.result if status.status == "done" else None,
        error,
    )
    return Json(_encode(document))


@get(
    "/runs",
    responses={200: ResponseSpec(RunPage, description="Runs", generate_examples=False), 503: RUN_ANSWERS[503]},
    summary="Which runs there are",
)
async def get_runs(
    request: AnyRequest,
    status: Annotated[list[str] | None, Parameter(description="Of these states, or `live`, or `ended`")] = None,
    kind: str | None = None,
    key: str | None = None,
    tag: str | None = None,
    since: datetime.datetime | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Parameter(ge=1, le=1000)] = 100,
) -> Response[Any]:
    """Runs, the latest first; `cursor` of one page asks for the next."""
    client, _ = await gateway_of(request).admit(request)
    found = await listing.page(
        client, status=status or (), kind=kind, key=key, tag=tag, since=since, cursor=cursor, limit=limit
    )
    return Json(_encode(found))


@get(
    "/runs/{run_id:str}/timeline",
    responses={
        200: ResponseSpec(RunDescription, description="The run", generate_examples=False),
        404: ResponseSpec(ErrorDocument, description="No such run", generate_examples=False),
        503: RUN_ANSWERS[503],
    },
    summary="A run with its timeline",
)
async def get_timeline(
    request: AnyRequest, run_id: str, moments: Annotated[int, Parameter(ge=1, le=10_000)] = 1000
) -> Response[Any]:
    """What a run is, what it waits for, and what became of it so far: steps, messages, failed attempts."""
    client, _ = await gateway_of(request).admit(request)
    return Json(_encode(await client.run(run_id).describe(moments=moments)))


@get(
    "/capabilities",
    responses={200: ResponseSpec(list[Capability], description="The kinds", generate_examples=False)},
    summary="What can be called",
)
async def get_capabilities(request: AnyRequest) -> Response[Any]:
    """The kinds that pods serve, with their methods and the schemas of their arguments and results."""
    client, _ = await gateway_of(request).admit(request)
    return Json(_encode(await client.capabilities()))


@get(
    "/functions",
    responses={200: ResponseSpec(list[Function], description="The functions", generate_examples=False)},
    summary="What can be invoked",
)
async def get_functions(request: AnyRequest) -> Response[Any]:
    """The functions that pods serve."""
    client, _ = await gateway_of(request).admit(request)
    functions = [
        Function(
            capability.kind,
            capability.description,
            capability.methods[0].arguments if capability.methods else {},
            capability.methods[0].result if capability.methods else {},
            f"/invoke/{capability.kind}",
        )
        for capability in await client.capabilities()
        if capability.type == "function"
    ]
    return Json(_encode(functions))
