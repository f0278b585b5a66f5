"""Off by default: nothing of OpenTelemetry is loaded, and nothing watches."""

from __future__ import annotations

import subprocess
import sys

import pytest

from runtime.client import tracing
from runtime.telemetry import from_environment
from tests.support.system import KINDS, ROOT, System


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_given_nothing_is_configured_then_a_pods_process_has_no_telemetry_loaded(system: System) -> None:
    system.start_pod(KINDS, "tests.telemetry.kinds")
    async with system.client() as client:
        assert await client.ask("loaded", "a", "run", {"prefix": "opentelemetry"}) == []
        assert await client.ask("loaded", "a", "run", {"prefix": "prometheus_client"}) == []
        assert "runtime.telemetry.spans" not in await client.ask("loaded", "a", "run", {"prefix": "runtime."})


@pytest.mark.anyio
async def test_given_only_metrics_then_opentelemetry_is_not_loaded(system: System) -> None:
    system.start_pod(KINDS, "tests.telemetry.kinds", metrics_port=0)
    async with system.client() as client:
        assert await client.ask("loaded", "a", "run", {"prefix": "opentelemetry"}) == []
        assert "runtime.telemetry.pod" in await client.ask("loaded", "a", "run", {"prefix": "runtime."})


@pytest.mark.parametrize("module", ["gateway.serve", "runtime.client", "runtime.host.process", "actors.intake"])
def test_given_a_module_then_importing_it_loads_no_opentelemetry(module: str) -> None:
    # FastStream looks at the names of semantic conventions, which is no telemetry.
    loaded = "any(name.startswith(('opentelemetry.sdk', 'opentelemetry.trace')) for name in sys.modules)"
    code = f"import sys, {module}; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_given_nothing_is_configured_then_there_is_no_telemetry_object_and_no_hook() -> None:
    assert from_environment("test", {}) is None
    assert tracing.active is None


@pytest.mark.anyio
async def test_given_no_telemetry_then_a_pod_has_no_observer(system: System) -> None:
    async with system.pod() as pod:
        assert pod.committer.observer is None
