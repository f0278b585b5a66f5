"""A soak of some seconds: too short for a verdict on growth, long enough to see that everything is sampled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.soak.report import write
from tests.soak.run import SoakSettings, run

SAMPLED = {
    *[f"{role} {what}" for role in ("elder pod", "other pods", "gateway", "nats-server")
      for what in ("memory MB", "open files", "threads")],
    "elder pod tasks", "nats-server connections",
    "postgres private memory MB", "postgres open files", "postgres processes", "postgres connections",
    "postgres WAL MB",
    *[f"table {table} {what}" for table in ("events", "inbox", "pending", "outbox", "timers", "partitions", "pods")
      for what in ("rows", "MB")],
    "bytes an event", "pods older than that",
    *[f"stream {stream} {what}" for stream in ("CMD", "INTENT", "EV") for what in ("messages", "MB", "consumers")],
    "age of the oldest fact min",
}  # fmt: skip


@pytest.mark.slow
def test_given_load_and_faults_when_it_soaks_then_every_process_table_and_stream_is_sampled_and_reported(
    tmp_path: Path,
) -> None:
    settings = SoakSettings(minutes=0.13, seed=3, rate=100, keys=40, fault_every_s=2, every_s=1.0)
    said: list[str] = []
    outcome = asyncio.run(run(settings, tmp_path / "data", said.append))
    assert outcome.trouble == [], "\n".join(said)
    assert outcome.faults
    assert outcome.acknowledged > 200
    assert outcome.visits > 3
    assert set(outcome.series) >= SAMPLED
    rows = dict(outcome.series["table events rows"])
    assert max(rows.values()) >= outcome.acknowledged / 2
    assert len({one.name for one in outcome.judged}) == len(outcome.judged) > 30
    text = write(outcome, tmp_path).read_text()
    assert all(f"| {one.name} |" in text for one in outcome.judged)
