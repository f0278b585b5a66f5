"""What turns telemetry on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from runtime.errors import Misconfigured


@dataclasses.dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Settings from the environment.

    Attributes:
        otlp_endpoint: base URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318 (RUNTIME_OTLP_ENDPOINT); None
            sends nothing. OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER,
            OTEL_RESOURCE_ATTRIBUTES, …) count as well.
        metrics_port: where Prometheus may ask (RUNTIME_METRICS_PORT); 0 takes a free port, None listens nowhere.
        metrics_host: the address to listen on (RUNTIME_METRICS_HOST).
        interval_s: seconds between metrics sent by OTLP (RUNTIME_METRICS_INTERVAL_S).
    """

    otlp_endpoint: str | None = None
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    interval_s: float = 15.0

    @property
    def on(self) -> bool:
        """Whether there is anything to do."""
        return self.otlp_endpoint is not None or self.metrics_port is not None


def from_environment(environment: Mapping[str, str] | None = None) -> TelemetrySettings:
    """The settings. Raises Misconfigured."""
    environment = os.environ if environment is None else environment
    endpoint = environment.get("RUNTIME_OTLP_ENDPOINT") or None
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise Misconfigured(f"RUNTIME_OTLP_ENDPOINT={endpoint!r} is not a URL: give one like http://127.0.0.1:4318")
    port = _number(environment, "RUNTIME_METRICS_PORT")
    if port is not None and not (port.is_integer() and 0 <= port < 65_536):
        raise Misconfigured(f"RUNTIME_METRICS_PORT is {port:g}: use 0 (a free one) to 65535")
    interval_s = _number(environment, "RUNTIME_METRICS_INTERVAL_S")
    if interval_s is not None and interval_s <= 0:
        raise Misconfigured(f"RUNTIME_METRICS_INTERVAL_S is {interval_s:g}: it must be above 0")
    return TelemetrySettings(
        otlp_endpoint=endpoint.rstrip("/") if endpoint is not None else None,
        metrics_port=None if port is None else int(port),
        metrics_host=environment.get("RUNTIME_METRICS_HOST") or "127.0.0.1",
        interval_s=interval_s or 15.0,
    )


def _number(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name)
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise Misconfigured(f"{name}={text!r} is not a number") from error
