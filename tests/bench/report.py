"""bench.json and the table: each figure beside its target."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import nats
import psycopg

from runtime.infra import Endpoints


class Target(NamedTuple):
    """What a figure is to reach: `least` or `most` this much. `format` shows it."""

    name: str
    title: str
    format: str
    bound: Literal["least", "most"]
    value: float


TARGETS = (
    Target("nats_commands_per_s", "durable commands through NATS", "{:,.0f}/s", "least", 20_000),
    Target("nats_one_pod_commands_per_s", "  one pod", "{:,.0f}/s", "least", 0),
    Target("nats_one_in_flight_p50_ms", "  one in flight, p50", "{:.2f} ms", "most", 1.2),
    Target("hot_key_commands_per_s", "  one hot key", "{:,.0f}/s", "least", 10_000),
    Target("http_intents_per_s", "POST /intent that waits", "{:,.0f}/s", "least", 4_000),
    Target("http_one_in_flight_p50_ms", "  one in flight, p50", "{:.2f} ms", "most", 2.0),
    Target("durable_steps_per_s", "durable steps, 256 runs", "{:,.0f}/s", "least", 30_000),
    Target("ten_step_run_p50_ms", "  a run of ten alone, p50", "{:.2f} ms", "most", 5.0),
    Target("workflow_start_to_result_p50_ms", "  a run of none alone, p50", "{:.2f} ms", "most", 3.0),
    Target("recover_10k_runs_s", "  10,000 runs after SIGKILL", "{:.2f} s", "most", 10.0),
    Target("replay_10k_step_journal_ms", "  a journal of 10,000 replayed", "{:,.0f} ms", "most", 1000),
    Target("sleeping_workflows_bytes_each", "  memory of a sleeping run", "{:,.0f} B", "most", 500),
    Target("agent_turns_ratio_to_bare_model", "agent's turns beside litellm alone", "{:.2f}", "least", 0.6),
    Target("agent_turns_per_s", "  turns of two model calls and a tool's", "{:,.0f}/s", "least", 0),
    Target("model_call_overhead_ms", "  added to a model call, one at a time", "{:.2f} ms", "most", 3.0),
    Target("first_token_ms", "  from the model to the screen, the first token", "{:.2f} ms", "most", 10.0),
    Target("session_10k_activation_ms", "activation of a session of 10,000 messages", "{:,.0f} ms", "most", 100),
    Target("import_core_s", "importing runtime", "{:.2f} s", "most", 0.3),
    Target("replay_events_per_s", "replay", "{:,.0f} events/s", "least", 200_000),
    Target("takeover_s", "take-over after SIGKILL, slowest lane", "{:.2f} s", "most", 3.0),
    Target("takeover_p50_s", "  median lane", "{:.2f} s", "most", 3.0),
    Target("idle_activation_bytes", "memory of an idle activation", "{:,.0f} B", "most", 5_000),
    Target("passivated_actor_bytes", "memory of a passivated actor", "{:,.0f} B", "most", 100),
    Target("cold_activations_per_s", "cold activations", "{:,.0f}/s", "least", 0),
)


def table(figures: Mapping[str, float]) -> list[str]:
    """The figures that have targets."""
    lines = []
    for target in TARGETS:
        if target.name not in figures:
            continue
        value = figures[target.name]
        reached = value >= target.value if target.bound == "least" else value <= target.value
        wanted = f"at {target.bound} {target.format.format(target.value)}" if target.value else "no target"
        verdict = "" if not target.value else "reached" if reached else "MISSED"
        lines.append(f"{target.title:38} {target.format.format(value):>18}   {wanted:>24}   {verdict}")
    return lines


def where_time_goes(figures: Mapping[str, float]) -> list[str]:
    """Processor time by process, and what the pod's batches waited for."""
    lines = []
    for prefix, title in (("nats", "a command through NATS, saturated"), ("http", "a POST /intent, saturated")):
        parts = {
            name: figures[f"{prefix}_{name}_us"]
            for name in ("gateway", "pod", "nats", "postgres", "clients")
            if f"{prefix}_{name}_us" in figures
        }
        if parts:
            shares = ", ".join(f"{name} {value:.0f}" for name, value in parts.items())
            most = max(parts, key=lambda name: parts[name])
            lines.append(f"µs of processor time for {title}: {sum(parts.values()):.0f} = {shares}; most in {most}")
    for prefix, title in (("nats", "saturated"), ("nats_one_in_flight", "one in flight"), ("hot_key", "hot key")):
        if f"{prefix}_batch_commands" in figures:
            read, turns, write = (figures[f"{prefix}_batch_{part}_ms"] for part in ("read", "turns", "write"))
            lines.append(
                f"a batch, {title}: {figures[f'{prefix}_batch_commands']:.0f} commands; fence and look-ups "
                f"{read:.2f} ms, handlers {turns:.2f} ms, writing and commit {write:.2f} ms"
            )
    return lines


async def conditions(endpoints: Endpoints) -> tuple[dict[str, float], list[str]]:
    """What the figures were measured on: as figures, and as lines. Raises RuntimeError when durability is off."""
    with psycopg.connect(endpoints.postgres_url) as connection:
        shown = {}
        for name in ("server_version", "server_version_num", "fsync", "synchronous_commit"):
            row = connection.execute(f"SHOW {name}").fetchone()
            assert row is not None
            shown[name] = row[0]
    if (shown["fsync"], shown["synchronous_commit"]) != ("on", "on"):
        raise RuntimeError(f"the figures would mean nothing: {shown}")
    broker = await nats.connect(endpoints.nats_url)
    version = str(broker.connected_server_version)
    await broker.close()
    cores, memory = os.cpu_count() or 0, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    figures = {
        "fsync": 1,  # on, or nothing is measured
        "synchronous_commit": 1,
        "postgres_version_num": int(shown["server_version_num"]),
        "cores": cores,
        "memory_gib": round(memory, 1),
    }
    durable = f"fsync {shown['fsync']}, synchronous_commit {shown['synchronous_commit']}"
    machine = f"{cores} cores ({_processor()}), {memory:.0f} GiB, {platform.system()} {platform.release()}"
    return figures, [
        f"PostgreSQL {shown['server_version']}, {durable}; {version.strip('<>')}; Python {platform.python_version()}",
        f"{machine}; callers on the same machine",
    ]


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.machine()
