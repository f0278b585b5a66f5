"""Prompts: what a model is told, of which parts, what is cut when there is no room, and how it is read afterwards.

    slots.py    parts with priorities, and how they are fitted into a number of tokens
    record.py   what a step records of a prompt, and the prompt made again from it
"""

from actors.prompts.record import Prompt, SlotSaid, remade
from actors.prompts.slots import About, Cut, Middleware, PromptSlot, lay

__all__ = ["About", "Cut", "Middleware", "Prompt", "PromptSlot", "SlotSaid", "lay", "remade"]
