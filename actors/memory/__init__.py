"""Memory: what is known of a user, of a session, or to an application.

    items.py      what is remembered: items and their kinds, decisions about them
    memory.py     the actor: its events are what is true, its index is made of them
    searching.py  what may be asked of it: search, recall, list
    embedding.py  the workflow that gives items their vectors
    recalling.py  what an agent is told of it, within a budget
    ingestion.py  the workflow that learns from a conversation; rules.py is what it does without a model
    consolidation.py  the workflow that makes one of what says the same
"""

from actors.memory.consolidation import consolidation
from actors.memory.embedding import embedding
from actors.memory.ingestion import ingestion
from actors.memory.memory import memory
from actors.memory.recalling import Remembers
from actors.memory.searching import Found, Recalled

KINDS = (memory, embedding, ingestion, consolidation)
"""What memory needs of a pod."""

memory.companions = KINDS[1:]

__all__ = ["KINDS", "Found", "Recalled", "Remembers", "consolidation", "embedding", "ingestion", "memory"]
