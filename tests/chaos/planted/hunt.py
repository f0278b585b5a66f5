"""Looking for a planted bug: run after run, since a fault may come at a moment when it does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.chaos.planted import Bug, settings_for
from tests.chaos.run import run
from tests.chaos.world import KINDS

TRIES = 3


def hunt(bug: Bug, seed: int, data: Path, say: Callable[[str], None], seconds: float = 0.0) -> str | None:
    """A finding that tells of the bug; None when no run had one. Each run, with the seeds from `seed` on, is said.

    `seconds` of load in place of the bug's own.
    """
    for number in range(TRIES):
        place = data / str(number)
        place.mkdir(parents=True)
        settings = settings_for(bug, seed + number, seconds)
        outcome = asyncio.run(run(settings, place, lambda line: None, (bug.module, *KINDS)))
        finding = bug.caught(outcome.verdict)
        said = f"caught: {finding}" if finding else "not caught"
        say(f"{bug.name}, seed {settings.seed}: {outcome.line}\n  {said}")
        if finding:
            return finding
    return None
