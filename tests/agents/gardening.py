"""A capability of another group."""

from __future__ import annotations

from actors.agents import Agent

gardener = Agent("gardener", description="Waters the garden.", examples=["water the roses", "are the plants dry"])
