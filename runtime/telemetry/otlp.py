"""Spans and metrics to a collector, by OTLP over HTTP. Imported only when RUNTIME_OTLP_ENDPOINT is set."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Tracer

from runtime.telemetry.measures import Buckets, Measure
from runtime.version import VERSION

_log = logging.getLogger("troupe.telemetry")

CLOSE_WITHIN_S = 2.0
_SCOPE = "troupe"


class Otlp:
    """A process's way to its collector. `service` is what the collector shows it as."""

    def __init__(self, endpoint: str, service: str, instance: str) -> None:
        self._resource = Resource.create(
            {"service.name": service, "service.version": VERSION, "service.instance.id": instance}
        )
        self._spans = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=CLOSE_WITHIN_S)
        self._spans.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self._metrics = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics", timeout=CLOSE_WITHIN_S)
        self._started_at = time.time_ns()

    def tracer(self) -> Tracer:
        """Makes spans."""
        return self._spans.get_tracer(_SCOPE, VERSION)

    async def send_measures(
        self, measures: Callable[[], list[Measure]], labels: Mapping[str, str], interval_s: float
    ) -> None:
        """Sends the measures every `interval_s` seconds, for ever, and once more when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(interval_s)
                await asyncio.to_thread(self._send, measures(), labels)
        except asyncio.CancelledError:
            await asyncio.to_thread(self._send, measures(), labels)
            raise

    async def close(self) -> None:
        """Sends what is left."""
        await asyncio.to_thread(self._spans.shutdown)
        await asyncio.to_thread(self._metrics.shutdown)

    def _send(self, measures: Sequence[Measure], labels: Mapping[str, str]) -> None:
        now = time.time_ns()
        metrics = [self._metric(measure, {**dict(measure.labels), **labels}, now) for measure in measures]
        scope = ScopeMetrics(InstrumentationScope(_SCOPE, VERSION), metrics, "")
        sent = self._metrics.export(MetricsData([ResourceMetrics(self._resource, [scope], "")]))
        if sent is not MetricExportResult.SUCCESS:
            _log.warning("metrics could not be sent to the collector")

    def _metric(self, measure: Measure, labels: dict[str, str], now: int) -> Metric:
        name, value = measure.name, measure.value
        if isinstance(value, Buckets):
            extremes = (0.0, 0.0)  # a pod does not keep them
            point = HistogramDataPoint(
                labels, self._started_at, now, sum(value.counts), value.total, value.counts, value.bounds, *extremes
            )
            data: HistogramData | Sum | Gauge = HistogramData([point], AggregationTemporality.CUMULATIVE)
        else:
            number = NumberDataPoint(labels, self._started_at, now, value)
            is_gauge = measure.kind == "gauge"
            data = Gauge([number]) if is_gauge else Sum([number], AggregationTemporality.CUMULATIVE, True)
        return Metric(name, measure.text, _unit(name), data)


def _unit(name: str) -> str:
    return "s" if name.removesuffix("_total").endswith("_seconds") else "1"
