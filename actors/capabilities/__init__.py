"""Capabilities: what an application can do, each a kind of actor that the router picks by a sentence.

    capability.py   a capability: its workers, persona, domain context, constraints, tools; a decorator for its code
    workers.py      classify, extract, verify, summarize, generate, tool_call: each a slot of the fleet, each a step
    offline.py      what workers do by rules where their slot has no model
"""

from actors.capabilities.capability import Capability, capability
from actors.capabilities.workers import Verdict, Workers
from actors.router.choosing import Choice

__all__ = ["Capability", "Choice", "Verdict", "Workers", "capability"]
