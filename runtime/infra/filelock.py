"""A lock that belongs to live processes only: flock(2) on a file, and in the file who holds it.

The kernel drops the lock when the last copy of the open file is closed, however its holders die, so there is no stale
lock. A child that inherits the file (`pass_fds`) keeps the lock for as long as it lives: this is how we know that a
server and everything it forked is gone.
"""

import fcntl
import os
import time
import weakref
from pathlib import Path

import msgspec

from runtime.infra.process import ProcessId

_POLL_S = 0.01


class Signature(msgspec.Struct, frozen=True):
    """Who holds a lock, and the process that started the holder (itself, if it started by itself)."""

    holder: ProcessId
    owner: ProcessId


class FileLock:
    """An exclusive lock, held from `acquire` to `release`. Two of the same process exclude each other too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self, timeout_s: float = 0.0) -> bool:
        """Take the lock; False if another still holds it after `timeout_s`."""
        assert self._fd is None, f"{self.path} is already held by this object"
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(fd)
                    return False
                time.sleep(_POLL_S)
            except BaseException:
                os.close(fd)
                raise
            else:
                self._fd = fd
                _held.add(self)
                return True

    def sign(self, holder: ProcessId) -> None:
        """Write into the file that `holder` has the lock, and that this process gave it."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, msgspec.json.encode(Signature(holder, ProcessId.current())), 0)

    def release(self) -> None:
        """Close our copy of the file; a child that inherited it keeps the lock while it lives. Repeatable."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            _held.discard(self)

    @property
    def is_mine(self) -> bool:
        return self._fd is not None

    @property
    def fd(self) -> int:
        assert self._fd is not None, f"{self.path} is not held"
        return self._fd


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _release_in_forked_child() -> None:
    """A forked child shares the open file, and would keep the lock after the death of the process that took it."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_release_in_forked_child)


def signature(path: Path) -> Signature | None:
    """Who signed the lock last, dead or alive; None if nobody did."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Signature)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def holder(path: Path) -> ProcessId | None:
    """The live process that signed the lock last; None if it is gone, or nobody ever signed."""
    signed = signature(path)
    return signed.holder if signed and signed.holder.is_alive() else None


def is_held(path: Path) -> bool:
    """Whether any live process holds the lock now."""
    if not path.exists():
        return False
    probe = FileLock(path)
    free = probe.acquire()
    probe.release()
    return not free
