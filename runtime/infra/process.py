"""Which process is meant, also after its pid was used again: a pid together with the time that process began.

A pid in a file proves nothing: the process may be gone and its number given to another. With the start time (and the
boot it is counted from) beside it, a record is either about a live process or stale, never about a stranger.
"""

import os
import subprocess
import sys
from pathlib import Path

import msgspec


class ProcessId(msgspec.Struct, frozen=True):
    """One process of this machine. `born` is opaque: equal strings mean the same process."""

    pid: int
    born: str

    @classmethod
    def current(cls) -> "ProcessId":
        found = find(os.getpid())
        assert found is not None, "a process can always see itself"
        return found

    def is_alive(self) -> bool:
        return find(self.pid) == self


def find(pid: int) -> ProcessId | None:
    """The live process with this pid; None if there is none. A zombie (dead, not yet waited for) counts as none."""
    born = _born_linux(pid) if sys.platform == "linux" else _born_ps(pid)
    return None if born is None else ProcessId(pid, born)


def children(pid: int) -> list[ProcessId]:
    """The live direct children of a process."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
    pairs = [line.split() for line in listing.splitlines()]
    found = [find(int(child)) for child, parent in pairs if int(parent) == pid]
    return [process for process in found if process is not None]


def _born_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command's name in parentheses, which may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    state, start_ticks = fields[0], fields[19]
    if state in "ZX":
        return None
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{start_ticks}"


def _born_ps(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    line = subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C"}).stdout.strip()
    if not line or line.startswith("Z"):
        return None
    return line.split(maxsplit=1)[1]
