"""An MCP server with the official package: over stdin and stdout as a program, over HTTP in a thread."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import EmbeddedResource, ResourceLink, TextResourceContents

shop = MCPServer("shop", log_level="CRITICAL")


@shop.tool()
def price(item: str, count: int = 1) -> str:
    """What so many cost."""
    if item == "bomb":
        os._exit(3)
    if item == "nothing":
        raise ToolError("there is no such item")
    return f"{count} {item}: {2 * count} EUR"


@shop.tool(structured_output=False)
def everything() -> list[Any]:
    """Every kind of content."""
    text = TextResourceContents(uri="shop://terms", text="pay first")
    link = ResourceLink(type="resource_link", name="terms", uri="shop://terms")
    return ["a text", Image(data=b"\x89PNG1234", format="png"), link, EmbeddedResource(type="resource", resource=text)]


@shop.tool()
def token() -> str:
    """What it was given."""
    return f"{len(os.environ.get('SHOP_TOKEN', ''))} characters"


@shop.tool()
async def wait() -> str:
    """Never ends."""
    await asyncio.Event().wait()
    return ""


@contextmanager
def served() -> Iterator[str]:
    """The URL of the shop, served over streamable HTTP on a free port of the loopback."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(shop.streamable_http_app(), log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


if __name__ == "__main__":
    shop.run()
