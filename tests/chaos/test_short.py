"""Chaos for half a minute: one of each fault and more, few keys, few partitions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.run import run
from tests.chaos.settings import ChaosSettings

FAULTS = ("kill", "stop", "term", "nats", "postgres", "half-open")


@pytest.mark.slow
def test_given_a_seeded_load_when_pods_and_servers_die_then_every_acknowledged_command_counts_once(
    tmp_path: Path,
) -> None:
    settings = ChaosSettings(seconds=14, seed=7, keys=100, rate=500, partitions=8, fault_every_s=1.6, faults=FAULTS)
    said: list[str] = []
    outcome = asyncio.run(run(settings, tmp_path, said.append))
    assert outcome.good, "\n".join([*said, outcome.line])
    assert {fault.kind for fault in outcome.history} == set(FAULTS)
    assert len(outcome.history) >= settings.least_faults
    assert outcome.verdict.acknowledged >= settings.least_acknowledged
