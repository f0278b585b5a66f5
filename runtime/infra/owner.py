"""Servers that outlive one command: held in the foreground (`up`), or by a process of their own (`up_detached`).

`python -m runtime.infra --data DIR` is that process.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from runtime.infra import filelock
from runtime.infra.embedded import LOCK_NAME, Infra
from runtime.infra.endpoints import Endpoints
from runtime.infra.errors import URLS, InfraError, NotPermitted, ServerFailed
from runtime.infra.filelock import FileLock
from runtime.infra.record import endpoints_of, read_record, remove_record
from runtime.infra.resolution import default_data_dir, given_endpoints

LOG_NAME = "owner.log"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 90.0
_POLL_S = 0.02
_LOOK_EVERY_S = 0.5
_MOST_RESTARTS = 5
_RESTARTS_WITHIN_S = 60.0

# Popen warns about a child that runs when its object is collected; these are meant to go on running.
_detached: list["subprocess.Popen[bytes]"] = []


def up(data_dir: Path | None = None, on_ready: Callable[[Endpoints], None] = lambda endpoints: None) -> None:
    """Start the servers, call `on_ready`, and hold them until SIGTERM or SIGINT; call it from the main thread.

    A server that ends by itself is started again. Raises AlreadyOwned if a live process has them, ServerFailed if one
    does not start or keeps ending, InfraError if the environment names servers, as then there is nothing to hold.
    """
    _refuse_given()
    ended = threading.Event()
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in previous:
        signal.signal(number, end)
    try:
        with Infra.start(data_dir or default_data_dir()) as infra:
            on_ready(infra.endpoints)
            _hold(infra, ended)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def up_detached(data_dir: Path | None = None) -> Endpoints:
    """Have the servers held by a process of their own; return when they are ready. Running ones are left as they are.

    Raises ServerFailed, quoting the owner's log, and InfraError if the environment names servers.
    """
    _refuse_given()
    data_dir = (data_dir or default_data_dir()).expanduser().absolute()
    if (record := read_record(data_dir)) is not None:
        return endpoints_of(data_dir, record)
    owner = _spawn_owner(data_dir)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        ended = owner.poll() is not None
        if (record := read_record(data_dir)) is not None:
            return endpoints_of(data_dir, record)  # our owner's, or those of one that was faster
        if ended and not filelock.is_held(data_dir / LOCK_NAME):
            raise ServerFailed(f"the servers' owner ended with status {owner.returncode}. It said:\n{_tail(data_dir)}")
        time.sleep(_POLL_S)
    raise ServerFailed(f"the servers were not ready within {START_TIMEOUT_S:g} s. Their owner said:\n{_tail(data_dir)}")


def down(data_dir: Path | None = None) -> int | None:
    """End the process that holds the servers, whichever it is, and return its pid once they are gone too.

    None if nothing ran. Raises NotPermitted if it is another user's, ServerFailed if it does not end.
    """
    data_dir = (data_dir or default_data_dir()).expanduser().absolute()
    if not data_dir.is_dir():
        return None
    lock = FileLock(data_dir / LOCK_NAME)
    owner = None
    if not lock.acquire():
        owner = filelock.holder(lock.path)
        if owner is not None:
            _terminate(owner.pid, data_dir)
        if not lock.acquire(STOP_TIMEOUT_S):
            who = f"process {owner.pid}" if owner else "a process that cannot be seen from here"
            raise ServerFailed(f"{who} still holds {lock.path} after {STOP_TIMEOUT_S:g} s. End it, then try again.")
    try:
        remove_record(data_dir)
        _await_servers_gone(data_dir)
    finally:
        lock.release()
    return owner.pid if owner else None


def _refuse_given() -> None:
    if given_endpoints() is not None:
        raise InfraError(f"{URLS} are set, so there is nothing to start. Unset both to have servers started here.")


def _hold(infra: Infra, ended: threading.Event) -> None:
    restarts: deque[float] = deque(maxlen=_MOST_RESTARTS)
    while not ended.wait(_LOOK_EVERY_S):
        for name in infra.revive():
            print(f"{name} had ended and was started again", file=sys.stderr, flush=True)
            restarts.append(time.monotonic())
            if len(restarts) == _MOST_RESTARTS and restarts[-1] - restarts[0] < _RESTARTS_WITHIN_S:
                raise ServerFailed(f"{name} keeps ending: {_MOST_RESTARTS} restarts in {_RESTARTS_WITHIN_S:g} s")


def _spawn_owner(data_dir: Path) -> "subprocess.Popen[bytes]":
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # It starts elsewhere, and must find the same code: also when that was found beside the present directory.
    search_path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (data_dir / LOG_NAME).open("wb") as log:
        owner = subprocess.Popen(
            [sys.executable, "-P", "-m", "runtime.infra", "--data", str(data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path)},
            start_new_session=True,
        )
    _detached.append(owner)
    return owner


def _terminate(pid: int, data_dir: Path) -> None:
    if pid == os.getpid():
        raise InfraError(f"the servers of {data_dir} belong to this very process: close its Infra instead")
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise NotPermitted(
            f"process {pid}, which holds the servers of {data_dir}, is another user's: {error}"
        ) from error


def _await_servers_gone(data_dir: Path) -> None:
    """An owner that handles no SIGTERM leaves its servers to their death signal."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for path in (data_dir / "nats" / "lock", data_dir / "postgres" / "lock"):
        while filelock.is_held(path):
            if time.monotonic() > deadline:
                raise ServerFailed(f"a server still holds {path} after {STOP_TIMEOUT_S:g} s")
            time.sleep(_POLL_S)


def _tail(data_dir: Path) -> str:
    return (data_dir / LOG_NAME).read_text(errors="replace")[-4000:].strip() or "(nothing)"
