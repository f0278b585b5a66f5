"""A file system of its own with a limit, which can be lowered to what is used: then the disk is full."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOM_BYTES = 64 * 2**30
"""More than any run writes; the embedded broker takes half of it for its streams' limits."""

SPARE_BYTES = 64 * 2**10
ATTEMPTS = 20


class Quota:
    """A tmpfs at `directory`, mounted by this process; needs root on Linux."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES},mode=755", "troupe-chaos", str(directory))

    def fill(self) -> None:
        """Leaves little room, if any."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._resize(shutil.disk_usage(self.directory).used + attempt * SPARE_BYTES)
                return
            except subprocess.CalledProcessError:  # more was written meanwhile than was to be spared
                if attempt == ATTEMPTS:
                    raise

    def free(self) -> None:
        """Gives all the room back."""
        self._resize(ROOM_BYTES)

    def close(self) -> None:
        """Unmounts, with all that is in it. Repeating it is harmless."""
        if os.path.ismount(self.directory):
            _run("umount", "--lazy", str(self.directory))

    def _resize(self, size: int) -> None:
        _run("mount", "-o", f"remount,size={size}", str(self.directory))


@functools.cache
def missing() -> str | None:
    """Why there can be no quota here; None when there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a file system with a quota is mounted by root on Linux only"
    with tempfile.TemporaryDirectory() as directory:
        try:
            Quota(Path(directory)).close()
        except subprocess.CalledProcessError as error:
            return f"a file system with a quota cannot be mounted: {error.stderr.strip()}"
    return None


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
