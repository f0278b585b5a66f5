"""Whether this process lives (GET /health), and whether it could serve a request now (GET /ready)."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec

from gateway.context import gateway_of
from gateway.errors import ErrorDocument, failure_of, respond
from gateway.responses import AnyRequest, Json
from runtime.errors import TroupeError
from runtime.version import VERSION

READY_TIMEOUT_S = 2.0

_encode = msgspec.json.Encoder().encode


class Health(msgspec.Struct):
    """The process answers."""

    status: str
    version: str


class Readiness(msgspec.Struct):
    """The broker and the database answered, by way of a pod. `warnings` are for people; requests are served."""

    nats: bool
    postgres: bool
    pods: int
    partitions: int
    partitions_owned: int
    warnings: list[str] = []


@get(
    "/health",
    responses={200: ResponseSpec(Health, description="The process answers", generate_examples=False)},
    summary="Is the process alive",
)
async def get_health(request: AnyRequest) -> Response[Any]:
    """Answers as long as the process can; asks nobody."""
    return Json(_encode(Health("ok", VERSION)))


@get(
    "/ready",
    responses={
        200: ResponseSpec(Readiness, description="Requests can be served", generate_examples=False),
        503: ResponseSpec(ErrorDocument, description="They cannot now, and why", generate_examples=False),
    },
    summary="Can requests be served",
)
async def get_ready(request: AnyRequest) -> Response[Any]:
    """Asks the broker, a pod, and through it the database. 503 says which of them did not answer."""
    try:
        client = await gateway_of(request).link.client("default", wait_s=READY_TIMEOUT_S)
        found: Readiness = await client.service("ready", type=Readiness, timeout_s=READY_TIMEOUT_S)
    except TroupeError as error:
        return respond(failure_of(error), status=503)
    return Json(_encode(found))
