"""Some seconds of concurrent clients under faults; and pods with a planted bug, which must not pass."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.linearizability.clients import MODELS
from tests.linearizability.planted import BUGS, MODULE, VARIABLE
from tests.linearizability.run import LinearSettings, Outcome, run

PLANTED = {"replies-before-commit": ()}
"""Bug → the faults that bring it out. (`reads-without-lease` shows by chance, under `stop`: try it by hand.)"""

TRIES = 4


def recorded(settings: LinearSettings, data: Path) -> tuple[Outcome, list[str]]:
    """One run, and what it said."""
    said: list[str] = []
    return asyncio.run(run(settings, data, said.append)), said


@pytest.mark.slow
def test_given_concurrent_clients_when_pods_and_servers_die_then_every_keys_history_has_an_order(
    tmp_path: Path,
) -> None:
    settings = LinearSettings(seconds=8, seed=11, faults=("stop", "nats", "kill"), fault_every_s=1.5)
    outcome, said = recorded(settings, tmp_path)
    assert outcome.good, "\n".join([*said, outcome.line])
    assert {fault.kind for fault in outcome.faults} == {"stop", "nats", "kill"}
    assert outcome.histories == outcome.keys >= len(MODELS)
    assert outcome.operations > 300


@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED)
def test_given_a_planted_bug_when_histories_are_checked_then_one_has_no_order(
    bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(PLANTED) < set(BUGS)
    monkeypatch.setenv(VARIABLE, bug)
    faults = PLANTED[bug]
    for seed in range(TRIES):  # chance may have it that no read comes in the moments in which the bug shows
        settings = LinearSettings(
            seconds=9 if faults else 3, seed=seed, faults=faults, fault_every_s=1.0, modules=(MODULE,)
        )
        outcome, said = recorded(settings, tmp_path / str(seed))
        if outcome.violations:
            break
    assert outcome.violations, "the planted bug was not found"
    assert any(line.startswith("  >") for line in said), "what was found is shown"
    assert any(f"seed {seed}" in line for line in said)
