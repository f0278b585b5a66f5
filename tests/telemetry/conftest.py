"""A collector, and processes that send to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtime.telemetry import Telemetry
from runtime.telemetry.settings import TelemetrySettings
from tests.support import warm
from tests.support.system import KINDS, System
from tests.telemetry.collector import Collector


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


Start = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def start(shared_system: System, collector: Collector) -> Iterator[Start]:
    """Starts `python -m MODULE ARGUMENTS…` with telemetry on; gives the line of JSON that it prints."""
    started: list[warm.Process] = []

    def begin(module: str, *arguments: str, **settings: Any) -> dict[str, Any]:
        environment = shared_system.environment(otlp_endpoint=collector.url, metrics_interval_s=0.2, **settings)
        process = warm.start(module, *arguments, env=environment)
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{module} ended with {process.wait()} before it was up"
        up: dict[str, Any] = json.loads(line)
        return up

    yield begin
    for process in started:
        process.terminate()
    for process in started:
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def pod(start: Start) -> dict[str, Any]:
    """A pod that sends spans and metrics; the line it printed."""
    return start("runtime.host.process", KINDS, "tests.telemetry.kinds", metrics_port=0)


@pytest.fixture
def traced(collector: Collector) -> Iterator[Telemetry]:
    """This process sends spans, under the name `test`."""
    telemetry = Telemetry(TelemetrySettings(otlp_endpoint=collector.url), "test")
    yield telemetry
    asyncio.run(telemetry.close())
