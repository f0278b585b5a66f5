"""Many histories: in several processes, with every planted bug, and one again with all that happened in it."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.simulation.history import History, Tracing
from tests.simulation.planted import PLANTED, Planted

REGRESSIONS = Path(__file__).parent / "regressions.txt"
CHUNK = 200
"""Histories of one process: a megabyte each."""

WARM = range(5)
"""Histories that the first process runs, so that the others need not find out what these are all alike in."""

PLANTED_WITHIN = 400
"""Histories within which each planted bug must be caught."""


class Outcome(NamedTuple):
    """What came of one history: nothing, or what was wrong with it."""

    seed: int
    problems: list[str]


@contextmanager
def _quiet() -> Iterator[None]:
    """No log, and no collector: what histories leave behind goes with the process, or is collected at the end."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tasks of nodes that died had perhaps not begun
            yield
    finally:
        if collecting:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as above: some of them are found only now
                gc.collect()
            gc.enable()
        logging.disable(level)


def run(seeds: range | list[int]) -> list[Outcome]:
    """The histories of these seeds, those that failed."""
    failed = []
    with _quiet():
        for seed in seeds:
            problems = History(seed).run()
            if problems:
                failed.append(Outcome(seed, problems))
    return failed


def _run(seeds: range) -> list[Outcome]:
    """In a process that ends behind it: nothing need be collected."""
    gc.disable()
    return run(seeds)


def trace(seed: int) -> tuple[list[str], list[str]]:
    """(problems, everything that happened) of one history."""
    history = History(seed, trace=True)
    handler = Tracing(history.scheduler)
    logger = logging.getLogger("troupe")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        problems = history.run()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
    assert history.scheduler.trace is not None
    return problems, history.scheduler.trace


def catch(planted: Planted) -> Outcome | None:
    """The first history that catches a planted bug."""
    with planted.sown(), _quiet():
        for seed in range(planted.near, planted.near + PLANTED_WITHIN):
            history = History(seed, only=planted.only, surely=planted.surely, divided=planted.divided)
            problems = history.run()
            if problems:
                return Outcome(seed, problems)
    return None


def regressions() -> list[int]:
    """The seeds of histories that once found a bug."""
    lines = REGRESSIONS.read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


def _catch(name: str) -> tuple[str, Outcome | None]:
    return name, catch(next(one for one in PLANTED if one.name == name))


def simulate(first: int, histories: int) -> int:
    """Runs histories and planted bugs, and prints what came of them; the exit code."""
    workers = os.cpu_count() or 1
    chunks = [range(start, min(start + CHUNK, first + histories)) for start in range(first, first + histories, CHUNK)]
    failed: list[Outcome] = []
    caught = 0
    run(WARM)
    with multiprocessing.get_context("fork").Pool(workers, maxtasksperchild=1) as pool:
        for outcomes in pool.imap_unordered(_run, chunks):
            for outcome in outcomes:
                print(f"seed {outcome.seed}: {outcome.problems[0]}", flush=True)
            failed += outcomes
        for name, found in pool.imap(_catch, [one.name for one in PLANTED]):
            caught += found is not None
            by = "NOT CAUGHT" if found is None else f"caught by seed {found.seed}: {found.problems[0][:100]}"
            print(f"planted: {name}: {by}", flush=True)
    if failed:
        show(min(failed).seed)
    print(f"histories {histories}, planted {len(PLANTED)}, caught {caught}, failed {len(failed)}")
    return 0 if not failed and caught == len(PLANTED) else 1


def show(seed: int) -> bool:
    """Runs one history, and prints all of it; whether it was right."""
    problems, lines = trace(seed)
    print("\n".join(lines))
    for problem in problems:
        print(f"seed {seed}: {problem}")
    sys.stdout.flush()
    return not problems
