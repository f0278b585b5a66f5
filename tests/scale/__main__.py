"""python -m tests.scale [--only keys,…] [--sizes N,…] [--seconds N] [--data DIR] [--docs DIR] [--report]"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from runtime.host.settings import PodSettings
from runtime.infra import Infra
from tests.bench.stage import Stage
from tests.scale import keys, lanes, length, results, watching
from tests.scale.report import write
from tests.support.system import ROOT

SIZES: dict[str, list[int]] = {
    "watching": [100, 1000, 10_000],
    "shared": [100, 1000, 10_000],
    "keys": [10_000, 100_000, 1_000_000, 10_000_000],
    "length": [10, 1000, 100_000, 1_000_000],
    "partitions": [8, 32, 128, 512],
    "pods": [1, 2, 4],
    "tenants": [1, 100, 10_000],
}
COMMANDS_PER_S = 500.0
SHARED_FACTS = 40_000
MOST_SHARED = 400


Measure = Callable[[Stage, int, float], dict[str, float]]


def _watching(stage: Stage, size: int, seconds: float) -> dict[str, float]:
    commands = max(size, int(COMMANDS_PER_S * seconds)) // size * size
    return watching.measure(stage, watching.Shape(size, "own", commands, COMMANDS_PER_S, seconds))


def _shared(stage: Stage, size: int, seconds: float) -> dict[str, float]:
    commands = max(4, min(MOST_SHARED, SHARED_FACTS // size))
    return watching.measure(stage, watching.Shape(size, "one", commands, 2 * SHARED_FACTS / size / 20, seconds))


AXES: dict[str, Measure] = {
    "watching": _watching,
    "shared": _shared,
    "keys": keys.rows,
    "length": length.length,
    "partitions": lanes.partitions,
    "pods": lanes.pods,
    "tenants": lanes.tenants,
}


def main() -> int:
    """Measures what is asked for, keeps it, and writes the report of all that was ever kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description="How cost grows, on real servers.")
    parser.add_argument("--only", default=",".join(SIZES), help="which axes")
    parser.add_argument("--sizes", default="", help="other sizes than the usual ones")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--data", type=Path, default=None, help="for the servers; kept, so that `keys` goes on in it")
    parser.add_argument("--results", type=Path, default=results.DIRECTORY, help="where the figures are kept")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where scale.md is written")
    parser.add_argument("--report", action="store_true", help="measure nothing: only write the report")
    given = parser.parse_args()
    axes = [name for name in given.only.split(",") if name]
    if unknown := set(axes) - SIZES.keys():
        parser.error(f"there is no axis {', '.join(sorted(unknown))}: use {', '.join(SIZES)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers and pods end with this process
    if not given.report:
        sizes = {axis: [int(size) for size in given.sizes.split(",") if size] or SIZES[axis] for axis in axes}
        if given.data is not None:
            _measure(sizes, given.seconds, given.data, given.results)
        else:
            with tempfile.TemporaryDirectory(prefix="troupe-scale-") as data:
                _measure(sizes, given.seconds, Path(data), given.results)
    print(f"report: {write(given.results, given.docs)}", flush=True)
    return 0


def _measure(axes: dict[str, list[int]], seconds: float, data: Path, kept: Path) -> None:
    with Infra.start(data / "servers") as infra, tempfile.TemporaryDirectory(prefix="troupe-scale-logs-") as logs:
        stage = Stage(infra, Path(logs), PodSettings("", "").partitions)
        for axis, sizes in axes.items():
            for size in sizes:
                figures = AXES[axis](stage, size, seconds)
                results.keep(kept, axis, size, figures)
                told = ", ".join(f"{name} {value:,.3g}" for name, value in figures.items())
                print(f"{axis} {size:,}: {told}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
