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
    found = [find(child) for child in (_children_linux(pid) if sys.platform == "linux" else _children_ps(pid))]
    return [process for process in found if process is not None]


def having_open(path: Path) -> list[ProcessId]:
    """Other live processes that have a file open, as far as we may see. Linux only; elsewhere none."""
    if sys.platform != "linux":
        return []
    pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()} - {os.getpid()}
    found = [find(pid) for pid in pids if _has_open(pid, path)]
    return [process for process in found if process is not None]


def works_in(pid: int, directory: Path) -> bool | None:
    """Whether a directory is the process's working directory; None if that cannot be known."""
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", directory)
    except OSError:
        return None


def _has_open(pid: int, path: Path) -> bool:
    try:
        return any(os.path.samefile(entry, path) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it is not ours, or has just ended
        return False


def _stat_linux(pid: int) -> list[str] | None:
    """The fields of `/proc/<pid>/stat` from the third on (proc(5)); None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command's name in parentheses, which may itself hold spaces and parentheses.
    return stat.rpartition(")")[2].split()


def _born_linux(pid: int) -> str | None:
    fields = _stat_linux(pid)
    if fields is None or fields[0] in "ZX":
        return None
    start_ticks = fields[19]
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{start_ticks}"


def _children_linux(pid: int) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [child for child in pids if (fields := _stat_linux(child)) is not None and fields[1] == str(pid)]


def _born_ps(pid: int) -> str | None:
    line = _ps("-o", "stat=,lstart=", "-p", str(pid)).strip()
    if not line or line.startswith("Z"):
        return None
    return line.split(maxsplit=1)[1]


def _children_ps(pid: int) -> list[int]:
    pairs = [line.split() for line in _ps("-A", "-o", "pid=,ppid=").splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


def _ps(*arguments: str) -> str:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False, env=environment).stdout
