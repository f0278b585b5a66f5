"""The servers of Worlds on the real engine: embedded ones, started once a process, or those that the environment names.

Every World begins with an empty log and empty streams: what the named servers hold in the streams CMD, INTENT and EV
is deleted. So they are named by variables of their own, and never by those of a deployment.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import Misconfigured
from runtime.testing.engine import NATS_URL, POSTGRES_URL

if TYPE_CHECKING:
    from runtime.infra import Endpoints, Infra

_infra: Infra | None = None
_directory: Path | None = None


def endpoints(before_they_end: Callable[[], None]) -> Endpoints:
    """Where the servers are; `before_they_end` is called when the process ends while they run.

    Raises Misconfigured, and what runtime.infra raises when they cannot be started.
    """
    global _directory, _infra  # one set of servers a process
    from runtime.infra import Endpoints, Infra

    nats_url, postgres_url = os.environ.get(NATS_URL), os.environ.get(POSTGRES_URL)
    if nats_url and postgres_url:
        return Endpoints(nats_url, postgres_url, embedded=False)
    if nats_url or postgres_url:
        raise Misconfigured(f"set both {NATS_URL} and {POSTGRES_URL}, or neither to have servers started here")
    if _infra is None:
        _directory = Path(tempfile.mkdtemp(prefix="troupe-test-"))
        _infra = Infra.start(_directory)
        atexit.register(close)
        atexit.register(before_they_end)
    return _infra.endpoints


def close() -> None:
    """Ends the servers that were started here; what they held goes with them."""
    global _directory, _infra  # see above
    if _infra is not None:
        _infra.close()
        _infra = None
    if _directory is not None:
        shutil.rmtree(_directory, ignore_errors=True)
        _directory = None
