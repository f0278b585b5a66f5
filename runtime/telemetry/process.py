"""What any process opens when telemetry is on, and closes at its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from runtime.ambient import spans
from runtime.client import tracing
from runtime.errors import Misconfigured
from runtime.telemetry import settings as configured
from runtime.telemetry.settings import TelemetrySettings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from runtime.telemetry.otlp import Otlp


class Telemetry:
    """The telemetry of one process. `service` is what a collector shows it as.

    While it is open, what clients of this process send is traced. `tracer` and `otlp` are None when nothing goes to a
    collector. Raises Misconfigured when that is wanted and OpenTelemetry is not installed.
    """

    def __init__(self, settings: TelemetrySettings, service: str) -> None:
        self.settings = settings
        self.tracer: Tracer | None = None
        self.otlp: Otlp | None = None
        if settings.otlp_endpoint is not None:
            try:
                from runtime.telemetry.otlp import Otlp  # noqa: PLC0415  # imports OpenTelemetry
                from runtime.telemetry.traces import ClientTraces, HandlerSpans  # noqa: PLC0415  # imports OpenTelemetry
            except ModuleNotFoundError as error:
                raise Misconfigured(
                    f"RUNTIME_OTLP_ENDPOINT is set and {error.name} is not installed: pip install 'troupe[telemetry]'"
                ) from error
            self.otlp = Otlp(settings.otlp_endpoint, service, f"{socket.gethostname()}-{os.getpid()}")
            self.tracer = self.otlp.tracer()
            tracing.active = ClientTraces(self.tracer)
            spans.active = HandlerSpans(self.tracer)

    async def close(self) -> None:
        """Sends what is left."""
        if self.otlp is not None:
            tracing.active = spans.active = None
            await self.otlp.close()


def from_environment(service: str, environment: Mapping[str, str] | None = None) -> Telemetry | None:
    """The telemetry that the environment asks for; None, which costs nothing, when it asks for none.

    Raises Misconfigured.
    """
    found = configured.from_environment(environment)
    return Telemetry(found, service) if found.on else None
