"""bench.json and the table: each figure beside what is to be reached."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from tests.bench.stage import Stage
from tests.support.system import ROOT

TARGETS: dict[str, tuple[str, float]] = {
    "nats_commands_per_s": (">=", 20_000),
    "nats_one_in_flight_p50_ms": ("<=", 1.2),
    "hot_key_commands_per_s": (">=", 10_000),
    "http_intents_per_s": (">=", 4_000),
    "http_one_in_flight_p50_ms": ("<=", 2.0),
    "replay_events_per_s": (">=", 200_000),
    "takeover_s": ("<=", 3.0),
    "idle_activation_bytes": ("<=", 5_000),
}


def circumstances(stage: Stage) -> dict[str, float | str]:
    """Durability, versions and machine, as the servers say."""
    with stage.scene() as scene:
        asked = {
            name: scene.system.sql(f"SHOW {name}")[0][0] for name in ("fsync", "synchronous_commit", "server_version")
        }
        partitions = scene.system.partitions
    return {
        "fsync": asked["fsync"],
        "synchronous_commit": asked["synchronous_commit"],
        "postgres": asked["server_version"],
        "python": platform.python_version(),
        "cores": os.cpu_count() or 0,
        "partitions": partitions,
    }


def write(figures: dict[str, float | str], path: Path = ROOT / "bench.json") -> None:
    """Writes one flat object; git ignores the file."""
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    path.write_text(json.dumps(rounded, indent=2) + "\n")


def table(figures: dict[str, float | str]) -> str:
    """The figures in lines, those with a target first."""
    lines = [f"{'figure':<32}{'measured':>14}   to reach"]
    for name in sorted(figures, key=lambda name: (name not in TARGETS, name)):
        value = figures[name]
        shown = f"{value:,.2f}" if isinstance(value, float) else str(value)
        line = f"{name:<32}{shown:>14}"
        if name in TARGETS and isinstance(value, float):
            sign, target = TARGETS[name]
            reached = value >= target if sign == ">=" else value <= target
            line += f"   {sign} {target:g}{'' if reached else '   not reached'}"
        lines.append(line)
    return "\n".join(lines)
