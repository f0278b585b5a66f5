"""python -m tests.chaos.planted [--seed N] [NAME…]: every planted bug must be caught; the last line counts them."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.planted import BUGS
from tests.chaos.planted.hunt import hunt


def main() -> int:
    """0 only when every bug was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.planted")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(bug.name for bug in BUGS))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    bugs = [bug for bug in BUGS if not given.names or bug.name in given.names]
    caught, begun = 0, time.monotonic()
    for bug in bugs:
        with tempfile.TemporaryDirectory(prefix="troupe-planted-") as data:
            caught += hunt(bug, given.seed, Path(data), lambda text: print(text, flush=True)) is not None
    print(f"planted {len(bugs)}, caught {caught}, {time.monotonic() - begun:.0f} s", flush=True)
    return 0 if caught == len(bugs) else 1


if __name__ == "__main__":
    sys.exit(main())
