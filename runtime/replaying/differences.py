"""What is told of code that does otherwise than what was recorded."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, Literal

import msgspec

_OTHERS = (str(Path(__file__).parents[1]), str(Path(traceback.__file__).parent), "<")
"""What is not the user's: the engine, Python's library and installed packages, and what has no file."""

What = Literal["unreadable", "state", "journal", "result", "error", "missing"]


class Difference(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The first difference of an actor's fold, or of one run.

    unreadable  an event cannot be decoded, or the fold of it fails
    state       the fold gives another state
    journal     the run asks for something else than is recorded
    result      the run ends otherwise than it did
    error       the run's code fails, where it went on
    missing     the code does not have what the record needs

    `event` is the sequence number and type of the event, or the number and name of the run's request; `old` is what is
    recorded, `new` what the code makes of it; `at` is the place in the code, `file:line`.
    """

    tenant: str
    kind: str
    key: str
    what: What
    text: str
    run: str | None = None
    seq: int = 0
    event: str = ""
    old: Any = None
    new: Any = None
    at: str = ""


class Report(msgspec.Struct, kw_only=True):
    """What came of a comparison. `unknown` are kinds of the recording that the code does not define.

    `open` are runs that had not ended: compared up to where they were. `stopped` are those whose last attempt was
    parked, and that the code still does not bring further.
    """

    differences: list[Difference] = []
    actors: int = 0
    events: int = 0
    runs: int = 0
    open: int = 0
    stopped: int = 0
    unknown: list[str] = []
    seconds: float = 0.0


def raised_at(error: BaseException) -> str:
    """`file:line` of the user's code that an error came from; empty when it came from the engine's."""
    cause: BaseException | None = error
    while cause is not None:
        every = traceback.extract_tb(cause.__traceback__)
        frames = [frame for frame in every if not frame.filename.startswith(_OTHERS)]
        if frames:
            return f"{frames[-1].filename}:{frames[-1].lineno}"
        cause = cause.__cause__
    return ""
