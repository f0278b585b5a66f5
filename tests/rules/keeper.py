"""python -m tests.rules.keeper LIMIT_S COMMAND…: runs a command, and ends whatever it leaves.

A test of a broken engine leaves what nobody planned: pods that hang, servers whose owner was killed, each perhaps in a
session of its own, which no signal to a process group reaches. The keeper asks the kernel to be the parent of every
orphan among its descendants (prctl(2), PR_SET_CHILD_SUBREAPER; on Linux), so it finds them all.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(limit_s: float, command: list[str]) -> None:
    """Returns when the command has ended, or `limit_s` seconds are over, and nothing of it is left."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        subprocess.Popen(command).wait(limit_s)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    finally:
        end_all()


def end_all() -> None:
    """Kills every descendant of this process, and those that they start meanwhile."""
    me = psutil.Process()
    while left := me.children(recursive=True):
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(left, timeout=1.0)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
