"""python -m tests.chaos [--seconds N] [--seed N] [--faults kill,stop,…] [--pods N] [--data DIR] [--planted BUG]"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.faults import KINDS, OUTAGE_S, described
from tests.chaos.planted import BUGS, settings_for
from tests.chaos.run import run
from tests.chaos.settings import FAULTS, ChaosSettings
from tests.chaos.world import KINDS as WORLD_KINDS


def main() -> int:
    """Runs chaos; 0 only when nothing was lost, doubled, reordered or stuck."""
    usual = ChaosSettings()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill, freeze and replace; then count.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the load runs")
    parser.add_argument("--seed", type=int, default=None, help="of load and faults; a random one without it")
    parser.add_argument("--faults", default=",".join(FAULTS), help="names, or `list` for what there is; empty for none")
    parser.add_argument("--pods", type=int, default=3)
    parser.add_argument("--rate", type=float, default=usual.rate, help="commands a second the load aims at")
    parser.add_argument("--every", type=float, default=usual.fault_every_s, help="mean seconds between faults")
    parser.add_argument("--data", type=Path, default=None, help="an empty directory for everything; it is kept")
    planted = [bug.name for bug in BUGS]
    parser.add_argument("--planted", choices=planted, help="a short run whose pods have this bug, and its faults")
    given = parser.parse_args()
    faults = tuple(name for name in given.faults.split(",") if name)
    if faults == ("list",):
        print("\n".join(described()))
        return 0
    if unknown := set(faults) - set(KINDS):
        parser.error(f"there is no fault {', '.join(sorted(unknown))}: use {', '.join(KINDS)}")
    settings = ChaosSettings(
        seconds=given.seconds,
        seed=random.SystemRandom().randrange(10**6) if given.seed is None else given.seed,
        faults=faults,
        pods=given.pods,
        rate=given.rate,
        fault_every_s=given.every,
        settle_s=usual.settle_s + (OUTAGE_S if any(KINDS[name].outage for name in faults) else 0.0),
    )
    modules: Sequence[str] = (WORLD_KINDS,)
    if given.planted is not None:
        bug = next(bug for bug in BUGS if bug.name == given.planted)
        settings, modules = settings_for(bug, settings.seed), (bug.module,)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers and pods end with this process
    if given.data is not None:
        given.data.mkdir(parents=True, exist_ok=True)
        return _run(settings, given.data, modules)
    with tempfile.TemporaryDirectory(prefix="troupe-chaos-") as data:
        return _run(settings, Path(data), modules)


def _run(settings: ChaosSettings, data: Path, modules: Sequence[str]) -> int:
    outcome = asyncio.run(run(settings, data, lambda line: print(line, flush=True), modules))
    print(outcome.line, flush=True)
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
