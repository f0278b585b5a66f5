"""What steps do outside: a line in the file that CHAOS_OUTSIDE names, appended, so that lines of all pods are in order.

    ran   a step's function runs
    had   its handler has the result

Tokens that steps hand out lie in a directory beside it, a file for each run.
"""

from __future__ import annotations

import os
from pathlib import Path

HAND = "hand"
"""The step that hands out a token."""


def note(what: str, command: str, step: str) -> None:
    """Adds a line about a step of the run of that command, `<tenant>/<command id>`."""
    line = f"{what} {command} {step} {os.getpid()}\n".encode()
    file = os.open(os.environ["CHAOS_OUTSIDE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def hand_out(command: str, *, token: str) -> None:
    """Adds the line, and leaves the token where `token_of` finds it."""
    note("ran", command, HAND)
    path = _path(Path(os.environ["CHAOS_OUTSIDE"]).parent, command)
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_text(token)
    scratch.replace(path)


def token_of(directory: Path, command: str) -> str | None:
    """The token of that command's run, of a chaos run in `directory`; None when none was handed out yet."""
    path = _path(directory, command)
    return path.read_text() if path.exists() else None


def _path(directory: Path, command: str) -> Path:
    return directory / "tokens" / command.replace("/", "~")
