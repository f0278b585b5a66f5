"""Capabilities for tests on servers: what a router picks from. Their pod brings along sessions and the router."""

from __future__ import annotations

from actors.agents import Agent
from tests.agents.desk import book

__all__ = ["librarian", "porter"]

porter = Agent(
    "porter",
    description="Books an item for a guest.",
    examples=["book a lamp", "please book the red bicycle"],
    instructions="Book what is asked for.",
    tools=[book],
)

librarian = Agent(
    "librarian", description="Tells the opening hours of the library.", examples=["when does the library open"]
)
