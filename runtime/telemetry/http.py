"""The span of an HTTP request, as ASGI middleware: `traceparent` in, and what the request causes below it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from runtime.telemetry.traces import context_of, traceparent_of
from schemas.headers import TRACEPARENT

Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class TracedApp:
    """An ASGI application each of whose HTTP requests is a span. The response says which: header `traceparent`."""

    def __init__(self, app: App, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == TRACEPARENT.encode()), None)
        parent = context_of(None if given is None else given.decode("latin-1"))
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with self._tracer.start_as_current_span(
            f"{scope['method']} {_route(scope['path'])}", parent, SpanKind.SERVER, attributes
        ) as span:
            await self._app(scope, receive, _noting(send, span))


def _noting(send: Send, span: trace.Span) -> Send:
    async def noted(message: Any) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            header = (TRACEPARENT.encode(), traceparent_of(span).encode())
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await send(message)

    return noted


def _route(path: str) -> str:
    """A path with few values: its first part."""
    return f"/{path.strip('/').partition('/')[0]}"
