"""The telemetry of a pod: it watches the pod's batches, and hands its measures out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime.host.items import Item
from runtime.host.lane import Lane
from runtime.host.observer import Marks
from runtime.host.plan import Plan
from runtime.host.pod import Pod
from runtime.host.turns import Turns
from runtime.telemetry.pod_measures import PodMeasures
from runtime.telemetry.process import Telemetry
from runtime.telemetry.prometheus import Endpoint, render

if TYPE_CHECKING:
    from runtime.telemetry.spans import PodSpans

_log = logging.getLogger("troupe.telemetry")

LAG_EVERY_S = 5.0


class PodTelemetry:
    """An Observer (runtime.host.observer).

    Hand it to the Pod, `open` it when the pod has started, and `close` it before its Telemetry.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._spans: PodSpans | None = None
        self._measures: PodMeasures | None = None
        self._endpoint: Endpoint | None = None
        self._tasks: list[asyncio.Task[None]] = []
        if telemetry.tracer is not None:
            from runtime.telemetry.spans import PodSpans  # noqa: PLC0415  # imports OpenTelemetry

            self._spans = PodSpans(telemetry.tracer)

    async def open(self, pod: Pod) -> str:
        """Begins to hand out measures; gives the URL where Prometheus finds them, or an empty text."""
        settings, otlp = self._telemetry.settings, self._telemetry.otlp
        measures = self._measures = PodMeasures(pod)
        labels = {"pod": pod.id, "group": pod.settings.group}
        self._tasks.append(asyncio.ensure_future(_watch_lag(measures)))
        if otlp is not None:
            self._tasks.append(asyncio.ensure_future(otlp.send_measures(measures.now, labels, settings.interval_s)))
        if settings.metrics_port is None:
            return ""
        self._endpoint = Endpoint(lambda: render(measures.now(), labels))
        return await self._endpoint.open(settings.metrics_host, settings.metrics_port)

    async def close(self) -> None:
        """Sends what is left of its measures, and listens no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._endpoint is not None:
            await self._endpoint.close()

    def turns(self, *args: Any, **kwargs: Any) -> Turns:
        """See Observer."""
        return Turns(*args, **kwargs) if self._spans is None else self._spans.turns(*args, **kwargs)

    def committed(self, batch: Sequence[Item], plan: Plan, fenced: Sequence[Lane], marks: Marks) -> None:
        """See Observer."""
        if self._measures is not None:
            self._measures.committed(batch, time.time())
        if self._spans is not None:
            self._spans.committed(batch, plan, marks)


async def _watch_lag(measures: PodMeasures) -> None:
    while True:
        try:
            await measures.look_at_lag()
        except Exception:  # noqa: BLE001  # whatever the broker says: the lag is only not known now
            _log.debug("the lag is not known now", exc_info=True)
        await asyncio.sleep(LAG_EVERY_S)
