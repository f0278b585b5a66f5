"""What is said to a session, and the run that answers it: known to whoever says something, by whatever way."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

from msgspec import Struct

KIND = "session"
SAY = "say"
RUN = "run"
ROUTER = "router"
"""The kind that a message is for when it names nobody (actors.router)."""

MAX_TEXT_BYTES = 262_144

WhenBusy = Literal["queue", "interrupt", "reject"]


class Say(Struct, frozen=True, omit_defaults=True):
    """The arguments of a session's `say`."""

    text: str
    agent: str = ROUTER
    when_busy: WhenBusy = "queue"


def run_key(session: str, id: str) -> str:
    """The key of the run that answers the message of that id: as long as a key may be, whatever the ids are."""
    # Both may hold any sign that could stand between them.
    return blake2b(f"{len(session)}/{session}/{id}".encode(), digest_size=16).hexdigest()


def wrong_with(text: str) -> str | None:
    """Why nothing can answer a text; None when something may."""
    if not text.strip():
        return "there is nothing to answer: the text is empty"
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        return f"a message has at most {MAX_TEXT_BYTES} bytes"
    return None
