"""Agents: models that work with tools, as workflows.

    agent.py      an agent: its model, instructions, tools and limits
    run.py        a run of it: model calls and tool calls, each a step
    tools.py      tools: of functions, and what any tool is; describing.py what a model is told of a function
    hosted.py     other actors' methods as tools
    remote.py     tools that somebody else describes: mcp_servers.py and mcp_connection.py those of MCP servers,
                  openapi.py, openapi_document.py and openapi_request.py those of HTTP services
    carrying.py   how a tool's call is carried out, one at a time where it has a lock
    output.py     answers of a shape; planning.py what an agent would do
    hooks.py      functions around all of that; plugins.py those of other distributions
    thinking.py   what a model is told of a conversation, and the step that asks it
"""

from actors.agents.agent import Agent, Limits
from actors.agents.hooks import Hook, Hooked, hook
from actors.agents.hosted import hosted
from actors.agents.tools import Tool, ToolContext, tool

__all__ = ["Agent", "Hook", "Hooked", "Limits", "Tool", "ToolContext", "hook", "hosted", "tool"]
