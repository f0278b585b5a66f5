"""The short program that becomes a server: `python -I -S launch.py PLAN`, with PLAN a LaunchPlan as JSON.

It runs between fork and exec of a server, in a process of its own, because what must happen there (giving up root,
asking for a signal when the parent dies) is not safe in the forked copy of a program with threads. It ends in `exec`,
so the server is a direct child of its owner, with the same pid. It imports the standard library only.
"""

import ctypes
import json
import os
import signal
import sys
import time
from typing import TypedDict

_PR_SET_PDEATHSIG = 1
_WATCH_POLL_S = 0.2


class LaunchPlan(TypedDict):
    """What to become.

    `environment` is the program's, or None for the one that this gets: a command line is no place for secrets. `owner`
    is the pid whose death ends the server, by `death_signal`. `parent_death_signal` says whether the kernel delivers it
    (Linux) or a small watching process does. `uid` and `gid` are whom to become, or None to stay.
    """

    argv: list[str]
    environment: dict[str, str] | None
    owner: int
    death_signal: int
    parent_death_signal: bool
    uid: int | None
    gid: int | None
    lock_fd: int | None


def main() -> None:
    plan: LaunchPlan = json.loads(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    libc = ctypes.CDLL(None, use_errno=True) if plan["parent_death_signal"] else None
    if libc is None:
        _start_watcher(plan)
    if plan["uid"] is not None and plan["gid"] is not None:
        os.setgroups([])
        os.setgid(plan["gid"])
        os.setuid(plan["uid"])
    # After setuid, which clears it. The owner may have died before this took effect: hence the look at its pid.
    if libc is not None and libc.prctl(_PR_SET_PDEATHSIG, plan["death_signal"], 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != plan["owner"]:
        sys.exit("its owner ended while it was being started")
    environment = os.environ if plan["environment"] is None else plan["environment"]
    os.execve(plan["argv"][0], plan["argv"], environment)


def _start_watcher(plan: LaunchPlan) -> None:
    """Leave behind a process, no child of the server's, that signals the server once its owner is gone."""
    server = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    if plan["lock_fd"] is not None:
        os.close(plan["lock_fd"])  # held by the server alone, so that the lock tells when it is gone
    while _exists(server):
        if not _exists(plan["owner"]):
            os.kill(server, plan["death_signal"])
            break
        time.sleep(_WATCH_POLL_S)
    os._exit(0)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    main()
