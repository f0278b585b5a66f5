"""Tools of a service that an OpenAPI document (3.0 or 3.1, JSON or YAML) describes.

    shop = OpenAPI("shop", "shop.yaml", auth={"api_key": "${shop}"}, only=("getOrder", "refundOrder"))
    agent = Agent("helper", tools=[shop])

A model knows an operation as `shop__getOrder`; its arguments are the parameters by name, and `body`. Each call is a
step, and carries an `Idempotency-Key` that is the same however often it is tried. Requests go to the document's servers
and to nobody else: redirects are not followed, references to other documents are not fetched, and the servers of a
document that comes from a URL are of its own origin, unless they are named in `servers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from actors.agents.openapi_document import BadDocument, Document, Operation, parsed
from actors.agents.openapi_request import made
from actors.agents.remote import MAX_TELL, RemoteTool, ToolFailed, check, exposed, named, on_loop
from actors.agents.tools import ONCE, BadCall, Tool, ToolContext, Toolset, told
from runtime.errors import Retry
from runtime.policy import RetryPolicy

if TYPE_CHECKING:
    from actors.models.wire import ToolSpec

MAX_DOCUMENT_BYTES = 10_000_000
MAX_ANSWER_BYTES = 1_000_000
"""More of an answer is not read."""

LATER = (429, 502, 503, 504)
"""Statuses of a service that may answer another time."""


class OpenAPI(Toolset):
    """The operations of one service.

    Args:
        name: begins the names of its tools.
        source: a path, or a URL.
        auth: by the document's security scheme, what it wants: a key, a token, `user:password`; `${name}` is a
            secret of the tenant whose run it is.
        servers: base URLs that requests may go to, in place of what the document says; the first one is used.
        only: these operations alone, by their ids; all by default.
        confirmation: whether a person approves each call, or those of the operations named here.
        timeout_s: of one call. `retry`: of calls that time out, do not reach the service, or that it refuses for now.
    """

    def __init__(
        self,
        name: str,
        source: str | Path,
        *,
        auth: Mapping[str, str] | None = None,
        servers: Collection[str] = (),
        only: Collection[str] | None = None,
        confirmation: bool | Collection[str] = False,
        required_roles: tuple[str, ...] = (),
        timeout_s: float = 60.0,
        retry: RetryPolicy = ONCE,
    ) -> None:
        self.name = name
        self._prefix = exposed(name, "")
        self._source = str(source)
        self._auth = dict(auth or {})
        self._servers = tuple(servers)
        self._only = None if only is None else frozenset(only)
        self._confirmation = confirmation
        self._options: dict[str, Any] = {"timeout_s": timeout_s, "retry": retry, "required_roles": required_roles}
        self._operations: dict[str, Operation] | None = None
        self._document: Document | None = None

    async def specs(self) -> list[ToolSpec]:
        """See Toolset. Raises BadDocument."""
        _, operations = await on_loop(self._known)
        return [one.spec for one in operations.values()]

    def find(self, name: str) -> Tool | None:
        """See Toolset."""
        if not name.startswith(self._prefix):
            return None

        async def called(given: Mapping[str, Any], ctx: ToolContext) -> str:
            return await self.call(name, given, ctx)

        return RemoteTool(name, called, confirmation=named(name, self.name, self._confirmation), **self._options)

    async def call(self, name: str, given: Mapping[str, Any], ctx: ToolContext) -> str:
        """Calls an operation by the name that a model knows.

        Raises BadCall, ToolFailed when the service says no, Retry when another try may help, BadDocument.
        """
        return await on_loop(lambda: self._call(name, given, ctx))

    async def _call(self, name: str, given: Mapping[str, Any], ctx: ToolContext) -> str:
        document, operations = await self._known()
        operation = operations.get(name)
        if operation is None:
            raise BadCall(f"there is no tool {name!r}; {self.name} has {', '.join(sorted(operations)) or 'none'}")
        check(name, operation.spec.parameters, dict(given))
        request = made(document, operation, given, self._auth, ctx)
        try:
            async with _client().stream(
                request.method, request.url, params=request.query, headers=request.headers, content=request.body
            ) as response:
                body = await _read(response)
        except httpx.HTTPError as error:
            raise Retry(f"{self.name} cannot be reached: {type(error).__name__}: {error}") from error
        return _told(f"{operation.method.upper()} {operation.path}", response, body)

    async def _known(self) -> tuple[Document, dict[str, Operation]]:
        if self._document is None or self._operations is None:
            document = parsed(self.name, self._source, await self._loaded(), self._servers)
            operations = document.operations()
            if self._only is not None:
                if missing := self._only - {one.id for one in operations}:
                    raise BadDocument(f"{self._source} has no operation {', '.join(sorted(missing))}")
                operations = [one for one in operations if one.id in self._only]
            self._operations = {one.spec.name: one for one in operations}
            self._document = document
        return self._document, self._operations

    async def _loaded(self) -> bytes:
        if not self._source.startswith(("http://", "https://")):
            try:
                return await asyncio.to_thread(Path(self._source).read_bytes)
            except OSError as error:
                raise BadDocument(f"the OpenAPI document cannot be read: {error}") from error
        try:
            async with _client().stream("GET", self._source) as response:
                body = await _read(response, MAX_DOCUMENT_BYTES)
        except httpx.HTTPError as error:
            raise BadDocument(f"{self._source} cannot be read: {type(error).__name__}: {error}") from error
        if response.status_code != 200:
            raise BadDocument(f"{self._source} answers with status {response.status_code}")
        return body


@cache
def _client() -> httpx.AsyncClient:
    """The process's one, which keeps connections, and no cookies: what one run is given is no other one's."""
    none = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(cookies=none, follow_redirects=False, timeout=None)  # noqa: S113  # that of the step holds


async def _read(response: httpx.Response, most: int = MAX_ANSWER_BYTES) -> bytes:
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > most:
            break
    return body[: most + 1]


def _told(what: str, response: httpx.Response, body: bytes) -> str:
    """What a model is told of an answer. Raises ToolFailed, and Retry for one that says `later`."""
    status = response.status_code
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_text = kind.startswith("text/") or "json" in kind or "xml" in kind or not kind
    text = body.decode(response.encoding or "utf-8", "replace") if is_text else f"[{kind}, {len(body)} bytes]"
    if status in LATER:
        after = response.headers.get("retry-after", "")
        raise Retry(f"{what} answered {status}: {text[:MAX_TELL]}", after_s=float(after) if after.isdigit() else None)
    if status >= 400:
        raise ToolFailed(f"{what} answered {status}: {text[:MAX_TELL]}")
    if status >= 300:
        raise ToolFailed(f"{what} answered {status}, to be asked at {response.headers.get('location', 'nowhere')}: no")
    return told(text) or f"done ({status})"
