"""python -m tests.peers [--only name,...] [--works name,...] [--stage sweep,measure] [--seconds N] [--rounds N]"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from runtime.infra import Infra
from tests.bench.report import conditions
from tests.peers import measuring, ratios, report, results
from tests.peers.dbos import Dbos
from tests.peers.eventsourcing import Eventsourcing
from tests.peers.langgraph import Langgraph
from tests.peers.ours import Ours
from tests.peers.peer import Ground, Peer
from tests.peers.prototype import Prototype
from tests.peers.restate import Restate
from tests.peers.work import WORKS
from tests.support.system import ROOT

PEERS: tuple[type[Peer], ...] = (Restate, Eventsourcing, Dbos, Langgraph, Prototype)
STAGES = ("sweep", "measure")


def main() -> int:
    """Measures, and writes docs/benchmarks.md and bench-peers.json."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description="Measure beside the peers.")
    systems: list[Peer] = [Ours(), *[make() for make in PEERS]]
    parser.add_argument("--only", default="", help=f"which of {','.join(system.name for system in systems)}")
    parser.add_argument("--works", default="", help=f"which of {','.join(WORKS)}")
    parser.add_argument("--stage", default="", help="sweep (search settings) or measure (with those found before)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement; 0.6 of it in the sweep")
    parser.add_argument("--rounds", type=int, default=3, help="of all systems in turn; the figures are medians")
    parser.add_argument("--short", action="store_true", help="sweep nothing: the first value of each setting")
    parser.add_argument("--state", type=Path, default=ROOT / ".peers", help="what is installed and what was found")
    parser.add_argument("--report", type=Path, default=ROOT / "docs" / "benchmarks.md", help="the report")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-peers.json", help="the ratios")
    given = parser.parse_args()
    only = _chosen(parser, given.only, [system.name for system in systems])
    works = _chosen(parser, given.works, list(WORKS))
    stages = _chosen(parser, given.stage, list(STAGES))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all that was started ends with this process
    fresh = "measure" not in given.stage
    plan = measuring.Plan(given.seconds, given.seconds * 0.6, given.rounds, only if fresh else [], given.short)
    given.state.mkdir(parents=True, exist_ok=True)
    kept = given.state / "results.json"
    found = results.read(kept)
    try:
        chosen = [system for system in systems if system.name in only or system.name == "ours"]
        run(found, chosen, works, stages, plan, given.state)
    finally:
        results.write(kept, found)
    given.out.write_bytes(msgspec.json.format(msgspec.json.encode(ratios.figures(found))) + b"\n")
    given.report.write_text(report.written(found))
    print("\n".join(report.table(found)))
    return 0


def run(
    found: results.Results, systems: list[Peer], works: list[str], stages: list[str], plan: measuring.Plan, state: Path
) -> None:
    """Everything that was asked for, on servers of its own; what is found goes into `found` as soon as it is."""

    def say(line: str) -> None:
        print(line, flush=True)

    with tempfile.TemporaryDirectory(prefix="troupe-peers-") as directory:
        scratch = Path(directory)
        with Infra.start(scratch / "servers") as infra:
            _, found.conditions = asyncio.run(conditions(infra.endpoints))
            ground = Ground(infra, state, scratch)
            ready = measuring.prepare(ground, systems, found, say)
            if "sweep" in stages:
                measuring.find_settings(ground, ready, works, found, plan, say)
            if "measure" in stages:
                measuring.compare(ground, ready, works, found, plan, say)


def _chosen(parser: argparse.ArgumentParser, given: str, names: list[str]) -> list[str]:
    """The names that were asked for, or all."""
    asked = [name for name in given.split(",") if name]
    if unknown := set(asked) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}: use {', '.join(names)}")
    return asked or names


if __name__ == "__main__":
    sys.exit(main())
