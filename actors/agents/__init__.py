"""Agents: models that work with tools, as workflows.

    agent.py      an agent: its model, instructions, tools and limits
    run.py        a run of it: model calls and tool calls, each a step
    tools.py      tools: from functions, from other agents, from other actors' methods
    thinking.py   what a model is told of a conversation, and the step that asks it
"""

from actors.agents.agent import Agent, Limits
from actors.agents.tools import Tool, ToolContext, hosted, tool

__all__ = ["Agent", "Limits", "Tool", "ToolContext", "hosted", "tool"]
