"""A kind whose process stands still in the middle of a transaction."""

from __future__ import annotations

import os
import signal

from runtime.entity import entity
from runtime.turn import Turn
from tests.support.kinds import Added, Counter, apply

freezer = entity("freezer", initial=Counter(), apply=apply)


@freezer.command
def add(state: Counter, ctx: Turn, amount: int = 1) -> Added:
    """Adds, and answers with the new value."""
    ctx.reply(state.value + amount)
    return Added(amount)


@freezer.command
def freeze(state: Counter, ctx: Turn, mark: str) -> Added:
    """Adds one. Whoever is the first to make the file `mark` is frozen as it decides: its batch is begun by then."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        pass
    else:
        os.kill(os.getpid(), signal.SIGSTOP)
    ctx.reply(state.value + 1)
    return Added(1)
