"""Metrics as Prometheus reads them: text format 0.0.4 on `GET /metrics`, on loopback unless told otherwise."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from runtime.telemetry.measures import Buckets, Measure

_log = logging.getLogger("troupe.telemetry")

PORTS_TRIED = 32
"""Pods of one machine share RUNTIME_METRICS_PORT: each takes the first free port from there."""

REQUEST_WITHIN_S = 5.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(measures: Sequence[Measure], labels: Mapping[str, str]) -> str:
    """The measures as text, each with these labels."""
    lines: list[str] = []
    last = ""
    for measure in measures:
        every = {**dict(measure.labels), **labels}
        fixed = ",".join(f'{name}="{_escaped(value)}"' for name, value in every.items())
        if measure.name != last:
            lines.append(f"# HELP {measure.name} {measure.text}")
            lines.append(f"# TYPE {measure.name} {measure.kind}")
        last = measure.name
        if isinstance(measure.value, Buckets):
            lines += _histogram(measure.name, measure.value, fixed)
        else:
            lines.append(f"{measure.name}{{{fixed}}} {measure.value:.17g}")
    return "\n".join(lines) + "\n"


def _histogram(name: str, histogram: Buckets, fixed: str) -> list[str]:
    lines = []
    count = 0
    for bound, in_bucket in zip([*histogram.bounds, float("inf")], histogram.counts, strict=True):
        count += in_bucket
        upper = "+Inf" if bound == float("inf") else f"{bound:g}"
        lines.append(f'{name}_bucket{{{fixed},le="{upper}"}} {count}')
    return [*lines, f"{name}_sum{{{fixed}}} {histogram.total:.17g}", f"{name}_count{{{fixed}}} {count}"]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Endpoint:
    """Serves what `text` gives."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> str:
        """Listens on the first free port from `port` on, and gives the URL.

        Without a free port it warns and gives an empty text: a pod must not fail for want of its metrics.
        """
        error: OSError | None = None
        for candidate in range(port, port + (PORTS_TRIED if port else 1)):
            try:
                self._server = await asyncio.start_server(self._serve, host, candidate)
            except OSError as refused:
                error = refused
                continue
            at = self._server.sockets[0].getsockname()
            return f"http://{f'[{at[0]}]' if ':' in at[0] else at[0]}:{at[1]}/metrics"
        _log.warning("metrics are not served: no port from %d on is free on %s: %s", port, host, error)
        return ""

    async def close(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_WITHIN_S):
                request = (await reader.readline()).split()
                while (await reader.readline()).strip():
                    pass
                known = len(request) > 1 and request[0] == b"GET" and request[1].partition(b"?")[0] == b"/metrics"
                body = self._text().encode() if known else b"GET /metrics is all there is\n"
                status = b"200 OK" if known else b"404 Not Found"
                writer.write(
                    b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                    % (status, CONTENT_TYPE.encode(), len(body), body)
                )
                await writer.drain()
        except (TimeoutError, OSError, ValueError, asyncio.LimitOverrunError):
            _log.debug("a request for metrics was not one", exc_info=True)
        finally:
            writer.close()
