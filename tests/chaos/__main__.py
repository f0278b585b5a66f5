"""python -m tests.chaos [--seconds N] [--seed N] [--faults kill,stop,…] [--pods N] [--split] [--data DIR] …"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.evidence import Verdict
from tests.chaos.faults import KINDS, OUTAGE_S, described
from tests.chaos.planted import BUGS, settings_for
from tests.chaos.report import last_line
from tests.chaos.run import Outcome, run
from tests.chaos.settings import FAULTS, ChaosSettings
from tests.chaos.world import KINDS as WORLD_KINDS

SPLIT_EVERY = 2
"""Of so many seeds one has several servers, unless it is said."""


def main() -> int:
    """Runs chaos; 0 only when nothing was lost, doubled, reordered or stuck."""
    usual = ChaosSettings()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill, freeze and replace; then count.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the load runs")
    parser.add_argument("--seed", type=int, default=None, help="of load and faults; a random one without it")
    parser.add_argument(
        "--faults", help="names, or `list` for what there is; empty for none; without it the usual ones, then a finale"
    )
    parser.add_argument("--pods", type=int, default=3)
    parser.add_argument("--rate", type=float, default=usual.rate, help="commands a second the load aims at")
    parser.add_argument("--every", type=float, default=usual.fault_every_s, help="mean seconds between faults")
    parser.add_argument(
        "--split", action=argparse.BooleanOptionalAction, default=None,
        help="two Postgres servers, two streams of commands; unless it is said, every other seed of the usual faults",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, default=None, help="an empty directory for everything; it is kept")
    parser.add_argument("--programs", default="", help="letters of programs.py; all of them without it")
    parser.add_argument("--keys", type=int, default=usual.keys, help="actors a tenant")
    planted = [bug.name for bug in BUGS]
    parser.add_argument("--planted", choices=planted, help="a short run whose pods have this bug, and its faults")
    given = parser.parse_args()
    faults = FAULTS if given.faults is None else tuple(name for name in given.faults.split(",") if name)
    if faults == ("list",):
        print("\n".join(described()))
        return 0
    if unknown := set(faults) - set(KINDS):
        parser.error(f"there is no fault {', '.join(sorted(unknown))}: use {', '.join(KINDS)}")
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    split = given.split if given.split is not None else given.faults is None and seed % SPLIT_EVERY == 0
    if split and "restore" in faults:
        parser.error("a restored backup of one of several servers takes back nothing on the others: use --no-split")
    settings = ChaosSettings(
        seconds=given.seconds,
        seed=seed,
        faults=faults,
        pods=given.pods,
        rate=given.rate,
        programs=given.programs,
        keys=given.keys,
        fault_every_s=given.every,
        split=split,
        settle_s=usual.settle_s + (OUTAGE_S if any(KINDS[name].outage for name in faults) else 0.0),
    )
    modules: Sequence[str] = WORLD_KINDS
    if given.planted is not None:
        bug = next(bug for bug in BUGS if bug.name == given.planted)
        settings, modules = settings_for(bug, settings.seed), (bug.module, *WORLD_KINDS)
    runs = [settings]
    if given.faults is None and given.planted is None:
        runs.append(settings.finale())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers and pods end with this process
    if given.data is not None:
        given.data.mkdir(parents=True, exist_ok=True)
        return _run(runs, given.data, modules)
    with tempfile.TemporaryDirectory(prefix="troupe-chaos-") as data:
        return _run(runs, Path(data), modules)


def _run(runs: Sequence[ChaosSettings], data: Path, modules: Sequence[str]) -> int:
    """One after the other, each with servers of its own; the last line counts them together."""
    outcomes: list[Outcome] = []
    for number, settings in enumerate(runs):
        place = data if number == 0 else data / "finale"
        place.mkdir(exist_ok=True)
        if number:
            print(f"{outcomes[0].line}\nfinale: {', '.join(settings.faults)}", flush=True)
        outcomes.append(asyncio.run(run(settings, place, lambda line: print(line, flush=True), modules)))
    history = [fault for outcome in outcomes for fault in outcome.history]
    print(last_line(Verdict.of(outcome.verdict for outcome in outcomes), history), flush=True)
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
