"""Times on a command line, as shown and as typed.

Typed: `2026-01-31`, `2026-01-31T12:00:00Z`, or how long ago: `90s`, `10m`, `2h`, `3d`.
"""

from __future__ import annotations

import datetime
import re

from runtime.errors import Misconfigured

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def shown(at: float | None) -> str:
    """A time (Unix seconds) as it is shown; `-` for none."""
    return "-" if at is None else datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str | None, now: datetime.datetime) -> datetime.datetime | None:
    """The time that `text` names, None for none. A time without a zone is UTC. Raises Misconfigured."""
    if text is None:
        return None
    try:
        if ago := _AGO.match(text):
            return now - datetime.timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
        found = datetime.datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise Misconfigured(
            f"{text!r} is no time: write 2026-01-31, 2026-01-31T12:00:00Z, or how long ago: 90s, 10m, 2h, 3d"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
