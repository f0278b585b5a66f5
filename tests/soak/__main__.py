"""python -m tests.soak [--minutes N] [--seed N] [--rate N] [--faults kill,…] [--docs DIR] [--data DIR]"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
from pathlib import Path

from tests.soak.report import write
from tests.soak.run import FAULTS, SoakSettings, run
from tests.support.system import ROOT


def main() -> int:
    """Soaks, and writes the report; 0 only when every series is bounded."""
    usual = SoakSettings()
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Load with faults; see what grows.")
    parser.add_argument("--minutes", type=float, default=usual.minutes)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--rate", type=float, default=usual.rate, help="commands a second")
    parser.add_argument("--faults", default=",".join(FAULTS), help="which of tests.chaos's; empty for none")
    parser.add_argument("--every", type=float, default=usual.every_s, help="seconds between samples")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where soak.md is written")
    parser.add_argument("--data", type=Path, default=None, help="an empty directory for everything; it is kept")
    given = parser.parse_args()
    settings = SoakSettings(
        minutes=given.minutes,
        seed=given.seed,
        rate=given.rate,
        faults=tuple(name for name in given.faults.split(",") if name),
        every_s=given.every,
    )
    logging.getLogger("troupe").setLevel(logging.ERROR)  # the broker is killed on purpose
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers and pods end with this process
    if given.data is not None:
        given.data.mkdir(parents=True, exist_ok=True)
        return _run(settings, given.data, given.docs)
    with tempfile.TemporaryDirectory(prefix="troupe-soak-") as data:
        return _run(settings, Path(data), given.docs)


def _run(settings: SoakSettings, data: Path, docs: Path) -> int:
    outcome = asyncio.run(run(settings, data, lambda line: print(line, flush=True)))
    for text in outcome.trouble:
        print(f"TROUBLE: {text}")
    for one in (*outcome.unbounded, *outcome.untold):
        print(f"{one.name}: grows by {one.growth:.3g} an hour, {one.allowed:.3g} is allowed; bounded: {one.bounded}")
    print(f"report: {write(outcome, docs)}")
    print(outcome.line, flush=True)
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
