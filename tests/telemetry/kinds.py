"""Kinds whose handlers say something of the process they run in."""

from __future__ import annotations

import logging
import sys

from msgspec import Struct

from runtime import Turn, entity, function

_log = logging.getLogger("shop")


class Nothing(Struct, frozen=True):
    """No state."""


class Said(Struct, frozen=True):
    text: str


def apply(state: Nothing, event: Said) -> Nothing:
    return state


talker = entity("talker", initial=Nothing(), apply=apply)


@talker.command
def say(state: Nothing, text: str, ctx: Turn) -> Said:
    """Says it to the log as well."""
    _log.info("said %s", text, extra={"length": len(text)})
    return Said(text)


@function
async def whisper(text: str) -> int:
    """Says it to the log, from an async handler."""
    _log.info("whispered %s", text)
    return len(text)


@function
def loaded(prefix: str) -> list[str]:
    """The modules of the pod's process whose names begin so."""
    return sorted(name for name in sys.modules if name.startswith(prefix))
