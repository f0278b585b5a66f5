"""Traces, metrics and structured logs. Off by default: then nothing of OpenTelemetry is imported and nothing is called.

    settings.py     what turns it on: RUNTIME_OTLP_ENDPOINT, RUNTIME_METRICS_PORT
    process.py      what any process opens and closes
    pod.py          what a pod has beside that: it watches its own batches; pod_measures.py: its counters and gauges
    measures.py     named values; prometheus.py: as text over HTTP
    otlp.py         spans and measures to a collector, by OTLP over HTTP
    traces.py       trace context, and the spans of what clients of this process send
    spans.py        the spans of a pod: wait, turn, commit, reply
    http.py         the span of an HTTP request, as ASGI middleware
    logs.py         lines of text or of JSON, with the actor, the command and the trace they are about

Only otlp.py, traces.py, spans.py and http.py import opentelemetry, and they are imported only where traces are on. Only
pod.py, pod_measures.py and spans.py know the host, so that a gateway can use the rest.
"""

from runtime.telemetry.process import Telemetry, from_environment

__all__ = ["Telemetry", "from_environment"]
