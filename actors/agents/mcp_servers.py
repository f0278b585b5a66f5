"""Tools of MCP servers, by the official client: a program that speaks on its stdin and stdout, or a URL.

    github = MCPServer("github", command=["npx", "-y", "@modelcontextprotocol/server-github"],
                       env={"GITHUB_TOKEN": "${github}"})
    search = MCPServer("search", url="https://search.example.org/mcp", headers={"Authorization": "Bearer ${search}"})
    agent = Agent("helper", tools=[github, search])

Each process has one connection to a server, made when its tools are wanted first. A model knows a tool as
`github__create_issue`. Each call is a step. One whose connection breaks fails, since nobody knows whether it was done,
and is tried again only by `retry`; the next call makes another connection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from actors.agents.remote import RemoteTool, exposed, named, on_loop
from actors.agents.tools import ONCE, Tool, ToolContext, Toolset
from actors.models.wire import ToolSpec
from runtime.errors import BadDefinition
from runtime.policy import RetryPolicy

if TYPE_CHECKING:
    from actors.agents.mcp_connection import Connections

class Reached(Struct, frozen=True):
    """How a server is reached, and which of its tools are wanted; see MCPServer."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    url: str
    headers: dict[str, str]
    only: frozenset[str] | None
    timeout_s: float
    connect_timeout_s: float


class MCPServer(Toolset):
    """The tools of one server.

    Args:
        name: begins the names of its tools.
        command, env: the program and what its environment has beside the usual; `${name}` is a secret.
        url, headers: of its streamable HTTP endpoint; the same.
        only: these of its tools alone, by the server's names; all by default.
        confirmation: whether a person approves each call, or those of the tools named here.
        timeout_s: of one call. `connect_timeout_s`: until it has said what it is and which tools it has.
        retry: of calls that time out or whose connection breaks; such a call may have been done.

    Raises BadDefinition when it is not one of command and url.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        url: str = "",
        headers: Mapping[str, str] | None = None,
        only: Collection[str] | None = None,
        confirmation: bool | Collection[str] = False,
        required_roles: tuple[str, ...] = (),
        timeout_s: float = 60.0,
        connect_timeout_s: float = 30.0,
        retry: RetryPolicy = ONCE,
    ) -> None:
        if bool(command) == bool(url):
            raise BadDefinition(f"MCP server {name!r} is reached by a command or by a URL: give one of them")
        self.name = name
        self._prefix = exposed(name, "")
        self._server = Reached(
            name, tuple(command), dict(env or {}), url, dict(headers or {}), None if only is None else frozenset(only),
            timeout_s, connect_timeout_s,
        )  # fmt: skip
        self._confirmation = confirmation
        self._options: dict[str, Any] = {"timeout_s": timeout_s, "retry": retry, "required_roles": required_roles}
        self._connections: Connections | None = None

    async def specs(self) -> list[ToolSpec]:
        """See Toolset. Raises Disconnected."""
        tools = await on_loop(lambda: self._reached().listed())
        return [
            ToolSpec(name, one.description or one.title or one.name, dict(one.input_schema))
            for name, one in tools.items()
        ]

    def find(self, name: str) -> Tool | None:
        """See Toolset."""
        if not name.startswith(self._prefix):
            return None
        confirmed = named(name, self.name, self._confirmation)

        async def called(given: Mapping[str, Any], _: ToolContext) -> str:
            return await self.call(name, given)

        return RemoteTool(name, called, confirmation=confirmed, **self._options)

    async def call(self, name: str, given: Mapping[str, Any]) -> str:
        """Calls a tool by the name that a model knows. Raises BadCall, ToolFailed and Disconnected."""
        return await on_loop(lambda: self._reached().call(name, given))

    async def close(self) -> None:
        """Ends the connection, and its program; the next call makes another one."""
        await on_loop(lambda: self._reached().close())

    def _reached(self) -> Connections:
        from actors.agents.mcp_connection import Connections  # noqa: PLC0415  # seconds

        if self._connections is None:
            self._connections = Connections(self._server)
        return self._connections
