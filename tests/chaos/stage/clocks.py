"""Wall clocks of single processes, moved by libfaketime while they run. Their monotonic clocks are left alone."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

REREAD_S = 1
"""How often a process looks at its control file."""

_PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime")
_NAME = "libfaketimeMT.so.1"


class WallClock:
    """The wall clock of one process: its file says by how much it differs."""

    def __init__(self, control_file: Path) -> None:
        self._file = control_file
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """Moves the clock `seconds` ahead of the machine's, or behind it; seen by the process within REREAD_S."""
        scratch = self._file.with_suffix(".new")
        scratch.write_text(f"{seconds:+.3f}s\n")
        scratch.replace(self._file)

    def environment(self) -> dict[str, str]:
        """What a process must be started with to have this clock."""
        found = library()
        assert found is not None
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(REREAD_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }


@functools.cache
def library() -> Path | None:
    """Where libfaketime is, for programs with threads."""
    for pattern in _PLACES:
        for directory in Path("/").glob(pattern.lstrip("/")):
            if (directory / _NAME).exists():
                return directory / _NAME
    return None


def missing() -> str | None:
    """Why clocks cannot be moved here; None when they can."""
    if sys.platform == "linux" and library() is not None:
        return None
    return f"{_NAME} is not installed (Debian's package libfaketime)"
