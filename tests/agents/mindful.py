"""An agent that remembers its session, for tests on servers."""

from __future__ import annotations

from actors.agents import Agent
from actors.memory import Remembers

mindful = Agent("mindful", memory=Remembers(scopes=("session",), learns="session", tools=False))
