"""Which command the code that runs now is handling, so that a line of a log can name it.

Turns say it once a batch and keep it up to date in passing; an execution says it to its own context.
"""

from __future__ import annotations

import dataclasses
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from runtime.host.command import Command

if TYPE_CHECKING:
    from runtime.host.items import Item
    from runtime.kind import Method


@dataclasses.dataclass(slots=True)
class Running:
    """What the turn thread is doing, for the watcher that waits for it. `loading` is the actor being folded."""

    item: Item | None = None
    command: Command | None = None
    method: Method | None = None
    kind: str = ""
    loading: str | None = None


class Handling(Protocol):
    """Something that knows the command in hand."""

    command: Command | None


class _Thread(threading.local):
    turns: Handling | None = None


_thread = _Thread()
_execution: ContextVar[Command | None] = ContextVar("troupe_command", default=None)


def turns(handling: Handling) -> None:
    """The turns that this thread runs from now on."""
    _thread.turns = handling


def execution(command: Command) -> None:
    """The command that this task, and what it starts, runs for."""
    _execution.set(command)


def command() -> Command | None:
    """The command in hand, if there is one."""
    if _thread.turns is not None:
        return _thread.turns.command
    return _execution.get()
