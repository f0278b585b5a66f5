"""A kind whose handler never returns and never stops logging."""

from __future__ import annotations

import logging

from msgspec import Struct

from runtime.entity import entity


class Silence(Struct, frozen=True):
    """No state."""


class Said(Struct, frozen=True):
    """An event that never comes."""


def apply(state: Silence, event: Said) -> Silence:
    """Nothing changes."""
    return state


chatty = entity("chatty", initial=Silence(), apply=apply)


@chatty.command
def chatter(state: Silence) -> Said:
    """Writes for ever, to nowhere a person must see it, but through the lock of stderr."""
    while True:
        logging.getLogger("chatty").warning("\x1b[K")
