"""Which servers to use: those named by the environment, those that already run for the data directory, or our own."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.infra import filelock
from runtime.infra.embedded import LOCK_NAME, Infra
from runtime.infra.endpoints import Endpoints
from runtime.infra.errors import AlreadyOwned, IncompleteConfiguration, ServerFailed
from runtime.infra.record import endpoints_of, read_record

NATS_URL = "RUNTIME_NATS_URL"
POSTGRES_URL = "RUNTIME_POSTGRES_URL"
_OWNER_TIMEOUT_S = 90.0
_POLL_S = 0.02


@contextmanager
def resolve(data_dir: Path | None = None) -> Iterator[Endpoints]:
    """The endpoints to use for as long as the context lasts.

    With both URLs in the environment nothing is started. Otherwise this process attaches to the servers of `data_dir`
    (default: `default_data_dir()`), or starts them and stops them when the context ends. Who attached loses the
    servers when their owner ends. Raises IncompleteConfiguration, ServerFailed, PackageMissing, NotPermitted.
    """
    if (given := given_endpoints()) is not None:
        yield given
        return
    found = attach_or_start(data_dir or default_data_dir())
    if isinstance(found, Endpoints):
        yield found
        return
    with found:
        yield found.endpoints


def given_endpoints() -> Endpoints | None:
    """What the environment names; None if it names nothing. Raises IncompleteConfiguration if it names one of two."""
    nats_url, postgres_url = os.environ.get(NATS_URL), os.environ.get(POSTGRES_URL)
    if nats_url and postgres_url:
        return Endpoints(nats_url, postgres_url, embedded=False)
    if nats_url or postgres_url:
        is_set, is_missing = (NATS_URL, POSTGRES_URL) if nats_url else (POSTGRES_URL, NATS_URL)
        raise IncompleteConfiguration(
            f"{is_set} is set and {is_missing} is not. Set both to use servers of your own, "
            "or unset both to have them started on this machine."
        )
    return None


def default_data_dir() -> Path:
    """`troupe` in the user's state directory (XDG_STATE_HOME, else ~/.local/state)."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "troupe"


def attach_or_start(data_dir: Path) -> Infra | Endpoints:
    """Own the directory's servers (Infra: close it), or use those of their live owner (Endpoints).

    Of several that start at once, one becomes the owner and the others wait until it is ready.
    """
    data_dir = data_dir.expanduser().absolute()
    deadline = time.monotonic() + _OWNER_TIMEOUT_S
    while True:
        if (record := read_record(data_dir)) is not None:
            return endpoints_of(data_dir, record)
        try:
            return Infra.start(data_dir)
        except AlreadyOwned:
            if time.monotonic() > deadline:
                break
        time.sleep(_POLL_S)
    owner = filelock.holder(data_dir / LOCK_NAME)
    who = f"process {owner.pid}" if owner else "a process that cannot be seen from here (another container?)"
    raise ServerFailed(
        f"{who} holds {data_dir / LOCK_NAME} and has not started its servers within {_OWNER_TIMEOUT_S:g} s. "
        "End it, or name another directory with --data."
    )
