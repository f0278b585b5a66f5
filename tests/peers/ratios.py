"""Ours over theirs, by flat names: what bench-peers.json holds, and what is to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from tests.peers.results import Results


class Ratio(NamedTuple):
    """A ratio: of which comparison, and what it is to reach, `least` or `most`; 0 for nothing in particular."""

    name: str
    comparison: str
    bound: Literal["least", "most"]
    target: float


RATIOS = (
    Ratio("restate_keyed_ratio", "restate.keyed", "least", 15),
    Ratio("restate_keyed_latency_ratio", "restate.alone", "most", 1 / 3),
    Ratio("restate_hot_key_ratio", "restate.hot", "least", 30),
    Ratio("eventsourcing_saves_ratio", "eventsourcing.keyed", "least", 0),
    Ratio("eventsourcing_latency_ratio", "eventsourcing.alone", "most", 0),
    Ratio("eventsourcing_hot_key_ratio", "eventsourcing.hot", "least", 0),
    Ratio("dbos_keyed_ratio", "dbos.keyed", "least", 0),
    Ratio("dbos_keyed_latency_ratio", "dbos.alone", "most", 0),
    Ratio("dbos_hot_key_ratio", "dbos.hot", "least", 0),
    Ratio("langgraph_checkpoints_ratio", "langgraph.checkpoints", "least", 0),
    Ratio("restate_steps_ratio", "restate.steps", "least", 10),
    Ratio("restate_run_latency_ratio", "restate.run", "most", 0),
    Ratio("dbos_steps_ratio", "dbos.steps", "least", 10),
    Ratio("dbos_run_latency_ratio", "dbos.run", "most", 0),
    Ratio("langgraph_steps_ratio", "langgraph.steps", "least", 10),
    Ratio("langgraph_run_latency_ratio", "langgraph.run", "most", 0),
    Ratio("prototype_ratio", "prototype.keyed", "least", 0.5),
    Ratio("prototype_latency_ratio", "prototype.alone", "most", 0),
    Ratio("prototype_hot_key_ratio", "prototype.hot", "least", 0),
)


def figures(results: Results) -> dict[str, float]:
    """Every ratio that was measured, and both sides of it, rounded to what is meaningful."""
    found: dict[str, float] = {}
    for ratio in RATIOS:
        if (comparison := results.comparisons.get(ratio.comparison)) is None:
            continue
        found[ratio.name] = rounded(comparison.ratio)
        name = ratio.comparison.replace(".", "_")
        for side, of in (("ours", comparison.ours), ("theirs", comparison.theirs)):
            found[f"{name}_{side}_per_s"] = rounded(of.per_s)
            found[f"{name}_{side}_p50_ms"] = rounded(of.p50_ms)
    return found


def verdict(ratio: Ratio, figures: Mapping[str, float]) -> str:
    """Whether a measured ratio reaches its target; nothing where there is none."""
    if not ratio.target:
        return ""
    value = figures[ratio.name]
    reached = value >= ratio.target if ratio.bound == "least" else value <= ratio.target
    return "reached" if reached else "missed"


def rounded(value: float) -> float:
    """Four digits, and no fraction from a thousand on."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")
