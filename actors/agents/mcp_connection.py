"""A process's connection to an MCP server: made when it is wanted, noticed when it breaks, and made anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import msgspec
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import CONNECTION_CLOSED, CallToolResult
from mcp.types import Tool as Described

from actors.agents.mcp_servers import Reached
from actors.agents.remote import MAX_TELL, ToolFailed, check, expanded, exposed
from actors.agents.tools import BadCall
from runtime.failure import text_of

T = TypeVar("T")

REST_S = 10.0
"""A connection that was not used for longer is asked for its tools first: one that broke is noticed before a call."""

GRACE_S = 5.0
"""A call that its step does not wait for any more is given up so much later."""

MAX_PAGES = 100
TENANT = "default"
"""Whose secrets a connection takes: it is one for all tenants."""

_log = logging.getLogger("troupe.agents.mcp")


class Disconnected(Exception):
    """The connection cannot be made, or broke: whether what was asked was done is not known."""


class Connections:
    """The connection to one server, and the one after it; for one event loop."""

    def __init__(self, server: Reached) -> None:
        self._server = server
        self._current: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def listed(self) -> dict[str, Described]:
        """The server's tools, by the names that a model knows. Raises Disconnected."""
        return (await self._connected()).tools

    async def call(self, name: str, given: Mapping[str, Any]) -> str:
        """See MCPServer.call."""
        connection = await self._connected()
        if name not in connection.tools:
            await self._list(connection)  # it may be new
        if (tool := connection.tools.get(name)) is None:
            known = ", ".join(sorted(connection.tools)) or "none"
            raise BadCall(f"there is no tool {name!r}; MCP server {self._server.name!r} has {known}")
        check(name, dict(tool.input_schema), dict(given))
        limit_s = self._server.timeout_s + GRACE_S
        result = await self._asked(connection, lambda client: client.call_tool(tool.name, dict(given), limit_s))
        text = text_of_result(result)
        if result.is_error:
            raise ToolFailed(text[:MAX_TELL] or f"{name} failed, and does not say why")
        return text

    async def close(self) -> None:
        """Ends the connection, and its program."""
        connection, self._current = self._current, None
        if connection is not None:
            await connection.close()

    async def _connected(self) -> _Connection:
        async with self._connecting:
            if self._current is not None and self._current.rested():
                try:
                    await self._list(self._current)
                except Disconnected as error:
                    _log.warning("%s", error)
            return self._current or await self._connect()

    async def _connect(self) -> _Connection:
        server, connection = self._server, _Connection()
        try:
            async with asyncio.timeout(server.connect_timeout_s):
                await connection.open(self._transport, server.connect_timeout_s)
                self._current = connection
                await self._list(connection)
        except asyncio.CancelledError:  # nobody waits for it any more: its program must not stay
            connection.abandon()
            self._current = None
            raise
        except Exception as error:
            await connection.close()
            self._current = None
            said = text_of(error) if str(error) else f"it did not answer within {server.connect_timeout_s:g} s"
            raise Disconnected(f"MCP server {server.name!r} cannot be reached: {said}") from error
        return connection

    async def _list(self, connection: _Connection) -> None:
        tools: dict[str, Described] = {}
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await self._asked(connection, _page(cursor))
            for one in page.tools:
                if self._server.only is None or one.name in self._server.only:
                    tools[exposed(self._server.name, one.name)] = one
            cursor = page.next_cursor
            if not cursor:
                break
        connection.tools = tools

    async def _asked(self, connection: _Connection, ask: Callable[[Client], Awaitable[T]]) -> T:
        name = self._server.name
        try:
            found = await ask(connection.client)
        except MCPError as error:
            if error.code != CONNECTION_CLOSED and error.message != "Session terminated":
                raise ToolFailed(f"MCP server {name!r} says: {error.message[:MAX_TELL]}") from error
            if self._current is connection:
                await self.close()
            raise Disconnected(f"the connection to MCP server {name!r} broke: {error.message}") from error
        connection.used()
        return found

    async def _transport(self, stack: AsyncExitStack) -> Any:
        server = self._server
        if server.command:
            env = {name: expanded(value, TENANT) for name, value in server.env.items()}
            return StdioServerParameters(command=server.command[0], args=list(server.command[1:]), env=env)
        headers = {name: expanded(value, TENANT) for name, value in server.headers.items()}
        http = await stack.enter_async_context(create_mcp_http_client(headers))
        return streamable_http_client(server.url, http_client=http)


def _page(cursor: str | None) -> Callable[[Client], Awaitable[Any]]:
    return lambda client: client.list_tools(cursor=cursor, cache_mode="refresh")


class _Connection:
    """A client, held open by a task of its own: what it has open must be closed where it was opened."""

    def __init__(self) -> None:
        self.tools: dict[str, Described] = {}
        self.client: Client
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._used_at = 0.0
        self._open = False

    async def open(self, transport: Callable[[AsyncExitStack], Awaitable[Any]], timeout_s: float) -> None:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(transport, timeout_s, ready))
        await ready

    async def _hold(
        self, transport: Callable[[AsyncExitStack], Awaitable[Any]], timeout_s: float, ready: asyncio.Future[None]
    ) -> None:
        try:
            async with AsyncExitStack() as stack:
                client = Client(await transport(stack), read_timeout_seconds=timeout_s)
                self.client = await stack.enter_async_context(client)
                self.used()
                self._open = True
                if not ready.done():
                    ready.set_result(None)
                await self._closing.wait()
        except BaseException as error:  # noqa: BLE001  # whoever waits for the connection is told, whatever it was
            if ready.done():
                _log.debug("a connection to an MCP server ended with %r", error)
            else:
                ready.set_exception(error if isinstance(error, Exception) else Disconnected(repr(error)))

    async def close(self) -> None:
        self.abandon()
        if self._task is not None:
            await asyncio.wait([self._task])

    def abandon(self) -> None:
        """Has it close, without waiting for that."""
        self._closing.set()
        if self._task is not None and not self._open:
            self._task.cancel()

    def used(self) -> None:
        self._used_at = asyncio.get_running_loop().time()

    def rested(self) -> bool:
        return asyncio.get_running_loop().time() - self._used_at > REST_S


def text_of_result(result: CallToolResult) -> str:
    """A result of all kinds of content as a text: what is no text is told of by its kind and size."""
    parts = [_part(one) for one in result.content]
    if not parts and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return "\n".join(parts)


def _part(one: Any) -> str:
    if one.type == "text":
        return str(one.text)
    if one.type in ("image", "audio"):
        return f"[{one.type} {one.mime_type}, {_size(one.data)} bytes]"
    if one.type == "resource_link":
        return f"[resource {one.name}: {one.uri}]"
    if one.type == "resource":
        found = one.resource
        text = getattr(found, "text", None)
        return f"[resource {found.uri}, {_size(found.blob)} bytes]" if text is None else str(text)
    return f"[{one.type}]"


def _size(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")
