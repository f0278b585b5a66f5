"""A pod carries only what its kinds need: what it imports is read from the interpreter itself."""

from __future__ import annotations

import subprocess
import sys

from tests.support.kinds import Add, counter
from tests.support.system import KINDS, ROOT, System, run

HEAVY = {
    "litellm", "openai", "tiktoken",  # models, where agents run
    "yarl",  # of aiohttp, which nats-py would import for WebSockets
    "litestar", "uvicorn", "granian", "faststream", "fastapi", "starlette",  # HTTP and intake, at the edges
    "gateway", "actors",
    "opentelemetry", "prometheus_client",  # when telemetry is on
    "typer", "rich",  # the command line
    "pytest", "testcontainers", "hypothesis",
}  # fmt: skip


def imported(import_times: str) -> set[str]:
    """The top-level packages that `-X importtime` reports."""
    lines = [line for line in import_times.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_given_kinds_without_agents_when_a_pod_has_served_them_then_it_imported_nothing_of_the_edges(
    system: System,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "runtime.host.process", KINDS],
        env=system.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:

        async def scenario() -> None:
            async with system.client() as client:
                assert await client.ask(counter, "a", Add(2), timeout_s=30) == 2
                assert await client.ask("double", "a", "run", {"x": 2}) == 4
                assert await client.ask("cart", "a", "put", {"item": "tea"}) == 1
                assert await client.query(counter, "a", "value") == 2

        run(scenario())
        process.terminate()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    found = imported(errors)
    assert found >= {"runtime", "msgspec", "psycopg", "nats"}, "the report should name what a pod does import"
    assert found & HEAVY == set()
