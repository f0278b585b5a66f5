"""`python -m tests.bench [--seconds N] [--only name,...]`: measures, prints a table and writes bench.json."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from runtime.host.settings import PodSettings
from runtime.infra import Infra
from tests.bench.measurements import MEASUREMENTS
from tests.bench.report import circumstances, table, write
from tests.bench.stage import Stage


def main(arguments: list[str]) -> int:
    """Runs the measurements that are named; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load is measured")
    parser.add_argument("--only", default="", help=f"some of {','.join(MEASUREMENTS)}; all by default")
    given = parser.parse_args(arguments)
    names = given.only.split(",") if given.only else list(MEASUREMENTS)
    if unknown := set(names) - set(MEASUREMENTS):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}: choose from {', '.join(MEASUREMENTS)}")
    figures: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory(prefix="troupe-bench-") as directory:
        log_dir = Path(directory) / "logs"
        log_dir.mkdir()
        with Infra.start(Path(directory) / "servers") as infra:
            stage = Stage(infra, log_dir, PodSettings("", "").partitions)
            figures |= circumstances(stage)
            for name in names:
                print(f"measuring {name} …", file=sys.stderr, flush=True)
                figures |= MEASUREMENTS[name](stage, given.seconds)
    print(table(figures))
    if not given.only:
        write(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
