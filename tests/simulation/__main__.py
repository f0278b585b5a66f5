"""`make simulate [SEED=] [HISTORIES=]`: many histories from a seed on, or one again."""

from __future__ import annotations

import argparse
import random
import sys

from tests.simulation.runner import show, simulate

HISTORIES = 10_000


def main() -> int:
    """The exit code: 0 when every history was right and every planted bug was caught."""
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seed", type=int, help="the first history's seed; alone, that history again, with its trace")
    parser.add_argument("--histories", type=int)
    given = parser.parse_args()
    if given.seed is not None and given.histories is None:
        right = show(given.seed)
        print(f"histories 1, planted 0, caught 0, failed {int(not right)}")
        return int(not right)
    first = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000_000)
    print(f"seeds from {first} on", flush=True)
    return simulate(first, given.histories or HISTORIES)


if __name__ == "__main__":
    sys.exit(main())
