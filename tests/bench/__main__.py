"""python -m tests.bench [--seconds N] [--only name,...] [--runs N] [--short] [--out FILE]"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from runtime.host.settings import PodSettings
from runtime.infra import Infra
from tests.bench import (
    activation,
    agents,
    first_tokens,
    http,
    messaging,
    recovery,
    replaying,
    report,
    sessions,
    stepping,
)
from tests.bench.figures import Figures
from tests.bench.stage import WARM_UP_S, Stage

Measurement = Callable[[Stage, float, Figures], None]

MEASUREMENTS: dict[str, Measurement] = {
    "nats": messaging.saturated,
    "latency": messaging.one_in_flight,
    "hot": messaging.hot_key,
    "http": http.intents,
    "cold": lambda stage, seconds, figures: activation.cold(stage, int(4000 * seconds), figures),
    "replay": lambda stage, seconds, figures: replaying.replay(stage, int(40_000 * seconds), figures),
    "takeover": lambda stage, seconds, figures: recovery.takeover(stage, max(1, int(seconds / 2)), figures),
    "steps": stepping.saturated,
    "runs": stepping.alone,
    "asleep": lambda stage, seconds, figures: stepping.asleep(stage, int(4000 * seconds), figures),
    "recovery": lambda stage, seconds, figures: stepping.recovery(stage, int(2000 * seconds), figures),
    "journal": lambda stage, seconds, figures: stepping.replaying(stage, int(2000 * seconds), figures),
    "agents": agents.turns,
    "tokens": lambda stage, seconds, figures: first_tokens.lags(stage, int(4 * seconds), figures),
    "session": lambda stage, seconds, figures: sessions.activation(stage, int(2000 * seconds), figures),
    "imports": agents.imports,
    "memory": lambda stage, seconds, figures: activation.memory(stage, int(20_000 * seconds), figures),
}

SHORT = 4, 0.1
"""Partitions, and seconds of warming up, of a run in which no speed is judged."""


def main() -> int:
    """Measures, writes bench.json, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the real system.")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load; the other sizes follow from it")
    parser.add_argument("--only", default="", help=f"which of {','.join(MEASUREMENTS)}")
    parser.add_argument("--runs", type=int, default=1, help="repeat everything; the figures are medians")
    parser.add_argument("--short", action="store_true", help="few partitions and no warm-up: it runs, and no more")
    parser.add_argument("--out", type=Path, default=None, help="where to write; bench.json, if all was measured")
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name] or list(MEASUREMENTS)
    if unknown := set(names) - MEASUREMENTS.keys():
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}: use {', '.join(MEASUREMENTS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers and pods end with this process
    figures = run(names, given.seconds, given.runs, lambda line: print(line, flush=True), short=given.short)
    out = given.out or (None if given.only else Path("bench.json"))
    if out is not None:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    return 0


def run(
    names: list[str], seconds: float, runs: int, say: Callable[[str], None], *, short: bool = False
) -> dict[str, float]:
    """Runs the measurements, says what was found, and gives the figures."""
    figures = Figures(say)
    with tempfile.TemporaryDirectory(prefix="troupe-bench-") as directory:
        data = Path(directory)
        with Infra.start(data / "servers") as infra:
            conditions, lines = asyncio.run(report.conditions(infra.endpoints))
            for line in lines:
                say(line)
            figures.add(**conditions)
            stage = Stage(infra, data, *(SHORT if short else (PodSettings("", "").partitions, WARM_UP_S)))
            for _ in range(runs):
                for name in names:
                    MEASUREMENTS[name](stage, seconds, figures)
    found = figures.all
    for line in ("", *report.table(found), "", *report.where_time_goes(found)):
        say(line)
    return found


if __name__ == "__main__":
    sys.exit(main())
