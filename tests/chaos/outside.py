"""What steps do outside: a line in the file that CHAOS_OUTSIDE names, appended, so that lines of all pods are in order.

    ran   a step's function runs
    had   its handler has the result
"""

from __future__ import annotations

import os


def note(what: str, command: str, step: str) -> None:
    """Adds a line about a step of the run of that command, `<tenant>/<command id>`."""
    line = f"{what} {command} {step} {os.getpid()}\n".encode()
    file = os.open(os.environ["CHAOS_OUTSIDE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)
