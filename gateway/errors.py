"""The one shape of errors: {"error": {"code", "message", "path", "details"}}, with the status of schemas.errors.

The messages of the engine's errors name the thing and what to do next; nothing here adds to them.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar import Response
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
)
from litestar.status_codes import HTTP_405_METHOD_NOT_ALLOWED, HTTP_413_REQUEST_ENTITY_TOO_LARGE

from gateway.responses import AnyRequest, Json
from runtime.errors import CallFailed, NotConnected, Rejected
from schemas.errors import CODES
from schemas.wire import Failure

RETRY_AFTER_S = 1
_RETRY_LATER = (429, 503)

_log = logging.getLogger("troupe.gateway")
_encode = msgspec.json.Encoder().encode


class ErrorBody(msgspec.Struct):
    """What went wrong; `path` is where in the arguments, `details` any further JSON."""

    code: str
    message: str
    path: str | None
    details: Any


class ErrorDocument(msgspec.Struct):
    """The body of every answer that is not a success."""

    error: ErrorBody


def failure_of(error: Exception) -> Failure:
    """What an exception says to the caller."""
    if isinstance(error, CallFailed):
        return Failure(error.code, str(error).removeprefix(f"{error.code}: "), error.path, error.details)
    if isinstance(error, Rejected):
        return Failure("rejected", str(error), details=error.details)
    if isinstance(error, NotConnected):
        return Failure("unavailable", str(error))
    _log.error("a request failed in the gateway itself", exc_info=error)
    return Failure("handler_failed", f"the gateway failed: {type(error).__name__}; its log has the details")


def encode_failure(failure: Failure) -> bytes:
    """A failure in the shape of errors."""
    return _encode(ErrorDocument(ErrorBody(failure.code, failure.message, failure.path, failure.details)))


def status_of(failure: Failure) -> int:
    """The HTTP status of a failure; 500 for a code of a newer engine than this gateway."""
    code = CODES.get(failure.code)
    return code.status if code is not None else 500


def respond(failure: Failure, status: int | None = None, headers: dict[str, str] | None = None) -> Response[bytes]:
    """The answer that tells a failure."""
    status = status_of(failure) if status is None else status
    headers = dict(headers or {})
    if status in _RETRY_LATER:
        known = failure.details.get("retry_after_s") if isinstance(failure.details, dict) else None
        headers["Retry-After"] = str(known if isinstance(known, int) else RETRY_AFTER_S)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Json(encode_failure(failure), status, headers)


def on_exception(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answers every exception, those of Litestar's own included."""
    if not isinstance(error, HTTPException):
        return respond(failure_of(error))
    asked = f"{request.method} {request.scope['path'][:200]}"
    if isinstance(error, MethodNotAllowedException) or error.status_code == HTTP_405_METHOD_NOT_ALLOWED:
        failure = Failure("method_not_allowed", f"{asked} is not possible: see /docs for the methods of each path")
        return respond(failure, headers=error.headers)
    if isinstance(error, NotFoundException):
        return respond(Failure("not_found", f"there is no {asked}: see /docs for what there is"))
    if error.status_code == HTTP_413_REQUEST_ENTITY_TOO_LARGE:
        return respond(Failure("too_large", "the body is larger than this gateway takes (RUNTIME_MAX_BODY_BYTES)"))
    if isinstance(error, ClientException):
        return respond(Failure("bad_request", _reasons(error)), error.status_code)
    return respond(failure_of(error))


def _reasons(error: HTTPException) -> str:
    extra = error.extra
    if isinstance(extra, list):
        told = [f"{one.get('key', 'request')}: {one.get('message', '')}" for one in extra if isinstance(one, dict)]
        if told:
            return "; ".join(told)
    return str(error.detail)
