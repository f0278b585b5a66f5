"""Turns: a queue of tool calls on an agent that no model drives, one at a time, kept through every crash.

    turn.py      a turn, what becomes of it, and values that are found when it begins
    queue.py     the queue of one agent's key: an entity
    agent.py     an agent: the queue's kind, and the function that takes a turn
    client.py    putting turns, and following them as (turn, value)
"""

from actors.turns.agent import turns
from actors.turns.turn import Late, Send, Turn

__all__ = ["Late", "Send", "Turn", "turns"]
