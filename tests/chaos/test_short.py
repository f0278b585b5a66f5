"""Chaos for half a minute: the usual faults, few keys, few partitions, one gateway, one version promoted."""

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
    settings = ChaosSettings(
        seconds=14, seed=7, keys=60, rate=500, partitions=8, fault_every_s=1.6, faults=FAULTS, gateways=1, sessions=3,
        promotions=1,
    )  # fmt: skip
    said: list[str] = []
    outcome = asyncio.run(run(settings, tmp_path, said.append))
    assert outcome.good, "\n".join([*said, outcome.line])
    # A machine that is busy with other things does less: what happened must only be enough to show anything.
    assert len({fault.kind for fault in outcome.history}) >= 3, outcome.history
    assert outcome.verdict.acknowledged >= 500
