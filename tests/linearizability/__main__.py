"""python -m tests.linearizability [--seconds N] [--seed N] [--faults kill,stop,…] [--data DIR] [--planted NAME]"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.linearizability.planted import BUGS, MODULE, VARIABLE
from tests.linearizability.run import FAULTS, KINDS, LinearSettings, run


def main() -> int:
    """Records and checks; 0 only when every key's history has an order."""
    parser = argparse.ArgumentParser(prog="python -m tests.linearizability", description="Record, then find an order.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="of clients and faults; a random one without it")
    parser.add_argument("--faults", default=",".join(FAULTS), help="which of tests.chaos's; empty for none")
    parser.add_argument("--every", type=float, default=LinearSettings.fault_every_s, help="mean seconds between faults")
    parser.add_argument("--data", type=Path, default=None, help="an empty directory for everything; it is kept")
    parser.add_argument("--planted", choices=sorted(BUGS), default=None, help="a bug that the pods are to have")
    given = parser.parse_args()
    if given.planted:
        os.environ[VARIABLE] = given.planted
    settings = LinearSettings(
        seconds=given.seconds,
        seed=random.SystemRandom().randrange(10**6) if given.seed is None else given.seed,
        faults=tuple(name for name in given.faults.split(",") if name),
        fault_every_s=given.every,
        modules=(MODULE,) if given.planted else KINDS,
    )
    logging.getLogger("troupe").setLevel(logging.ERROR)  # the broker is killed on purpose
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers and pods end with this process
    if given.data is not None:
        given.data.mkdir(parents=True, exist_ok=True)
        return _run(settings, given.data)
    with tempfile.TemporaryDirectory(prefix="troupe-linear-") as data:
        return _run(settings, Path(data))


def _run(settings: LinearSettings, data: Path) -> int:
    outcome = asyncio.run(run(settings, data, lambda line: print(line, flush=True)))
    print(outcome.line, flush=True)
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
