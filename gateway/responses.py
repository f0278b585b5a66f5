"""Bodies that are encoded already, and headers as they came: the hot path without Litestar's collections.

Building a Headers object costs more than calling the actor's client does, and so does a general response; both are
measured in the thousands of requests a second of one process.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

AnyRequest = Request[Any, Any, Any]

JSON = b"application/json"


def header(request: AnyRequest, name: bytes) -> str | None:
    """The first header of that name, which is in lower case."""
    for found, value in request.scope["headers"]:
        if found == name:
            return value.decode("latin-1")
    return None


class Json(Response[bytes]):
    """An answer whose body is JSON already."""

    def __init__(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(body, status_code=status, headers=headers, media_type="application/json")

    def to_asgi_response(self, app: Litestar | None, request: AnyRequest, **options: Any) -> ASGIResponse:
        """The response as Litestar sends it."""
        headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(self.content))]
        for name, value in self.headers.items():
            headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
        return _Sending(self.content, self.status_code or 200, headers)


class _Sending(ASGIResponse):
    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, body: bytes, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        # Not the base class's: what it sets up is what this one does without.
        self._body = body
        self._status = status
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
