"""What a pod measures, by name. One list, so that Prometheus and OTLP say the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from runtime.ambient.metrics import BOUNDS, registry
from runtime.host.command import Command
from runtime.host.items import Item
from runtime.host.meter import Histogram
from runtime.host.pod import Pod
from runtime.telemetry.measures import Buckets, Measure

COMMAND_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
ASK_TIMEOUT_S = 2.0


class _Consumer(msgspec.Struct):
    name: str
    num_pending: int = 0


class _Page(msgspec.Struct):
    consumers: list[_Consumer] = []
    total: int = 0


class PodMeasures:
    """The measures of one pod. The latency of commands and the lag are kept here: nothing else needs them."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._latency = Histogram(COMMAND_SECONDS)
        self._lag_s = 0.0
        self._lag_commands = 0

    def committed(self, batch: Sequence[Item], now: float) -> None:
        """Takes the latencies of a committed batch. `now` is Unix seconds."""
        oldest = now
        for item in batch:
            if type(item) is Command and item.stream_at:
                stored_at = item.stream_at / 1e9
                self._latency.add(max(now - stored_at, 0.0))
                oldest = min(oldest, stored_at)
        self._lag_s = now - oldest

    async def look_at_lag(self) -> None:
        """Asks the broker how many commands it holds for this pod's lanes. Raises what the request raises."""
        feeds = [feed for lane in self._pod.lanes.values() for feed in (lane.feed, *lane.feed.apart.values())]
        own = {feed.consumer for feed in feeds}
        lag = offset = 0
        while True:
            request = msgspec.json.encode({"offset": offset})
            subject = f"$JS.API.CONSUMER.LIST.{self._pod.commands.stream}"
            answer = await self._pod.connection.request(subject, request, timeout=ASK_TIMEOUT_S)
            page = msgspec.json.decode(answer.data, type=_Page)
            lag += sum(consumer.num_pending for consumer in page.consumers if consumer.name in own)
            offset += len(page.consumers)
            if not page.consumers or offset >= page.total:
                break
        self._lag_commands = lag

    def now(self) -> list[Measure]:
        """Every measure's value."""
        return [*self._counters(), *self._gauges(), *self._histograms(), *_of_handlers()]

    def _counters(self) -> list[Measure]:
        pod, meter, left_behind = self._pod, self._pod.meter, self._pod.executions.left_behind
        return [
            Measure("troupe_batches_total", "counter", "Committed batches.", meter.batches),
            Measure("troupe_commands_total", "counter", "Commands that were answered for good.", meter.commands),
            Measure("troupe_turns_total", "counter", "Turns of handlers.", meter.turns),
            Measure("troupe_repeated_total", "counter", "Repeats answered from the log.", meter.repeated),
            Measure("troupe_replies_total", "counter", "Replies published.", meter.replies),
            Measure("troupe_parked_total", "counter", "Commands put among the dead letters.", meter.parked),
            Measure("troupe_fenced_total", "counter", "Lanes found lost to another pod at a commit.", meter.fenced),
            Measure("troupe_slow_handlers_total", "counter", "Handlers that held up the turns.", meter.slow_handlers),
            Measure("troupe_left_behind_total", "counter", "Threads of handlers that never returned.", left_behind),
            Measure("troupe_log_losses_total", "counter", "Times the connection to the log broke.", meter.log_losses),
            Measure("troupe_reader_restarts_total", "counter", "Readers made anew.", pod.commands.restarts),
            Measure("troupe_passivated_total", "counter", "Actors taken out of memory.", pod.activations.passivated),
            Measure("troupe_batch_read_seconds_total", "counter", "Time of look-ups in the log.", meter.read_s),
            Measure("troupe_batch_turns_seconds_total", "counter", "Time of handlers.", meter.turns_s),
            Measure("troupe_batch_write_seconds_total", "counter", "Time of writes to the log.", meter.write_s),
        ]

    def _gauges(self) -> list[Measure]:
        pod, lanes = self._pod, list(self._pod.lanes.values())
        queued = sum(lane.queued for lane in lanes) + len(pod.committer)
        lag_s = self._lag_s if queued else 0.0
        return [
            Measure("troupe_owned_lanes", "gauge", "Lanes this pod owns.", len(lanes)),
            Measure("troupe_tasks", "gauge", "Tasks of the pod's event loop.", len(asyncio.all_tasks())),
            Measure("troupe_activations", "gauge", "Actors in memory.", len(pod.activations)),
            Measure("troupe_queued_commands", "gauge", "Commands taken and not committed yet.", queued),
            Measure("troupe_executions", "gauge", "Executions that run.", sum(len(one.active) for one in lanes)),
            Measure("troupe_held_actors", "gauge", "Actors whose key is held.", sum(len(one.held) for one in lanes)),
            Measure("troupe_paused_actors", "gauge", "Paused actors.", sum(len(one.paused) for one in lanes)),
            Measure("troupe_outbox_messages", "gauge", "Messages to be sent.", sum(len(one.outbox) for one in lanes)),
            Measure("troupe_lag_commands", "gauge", "Commands the broker holds for these lanes.", self._lag_commands),
            Measure("troupe_lag_seconds", "gauge", "Age of the oldest command of the last batch.", lag_s),
            *self._of_tenants(),
        ]

    def _of_tenants(self) -> list[Measure]:
        text = "Commands that wait of a tenant that is read apart from others."
        waiting = sorted(self._pod.sharing.waiting().items()) or [("", 0)]
        return [
            Measure("troupe_tenant_backlog_commands", "gauge", text, count, (("tenant", tenant),) if tenant else ())
            for tenant, count in waiting
        ]

    def _histograms(self) -> list[Measure]:
        meter = self._pod.meter
        found = (
            ("troupe_batch_size", "Items in a batch.", meter.batch_sizes),
            ("troupe_batch_seconds", "Time of a batch.", meter.batch_seconds),
            ("troupe_command_seconds", "From stored by the broker to committed.", self._latency),
        )
        return [
            Measure(name, "histogram", text, Buckets(one.bounds, tuple(one.counts), one.total))
            for name, text, one in found
        ]


def _of_handlers() -> list[Measure]:
    """What handlers have counted, see runtime.ambient.metrics."""
    found = []
    for name, labels, total, counts in registry.all():
        if counts is None:
            found.append(Measure(f"troupe_app_{name}_total", "counter", "Counted by handlers.", total, labels))
        else:
            value = Buckets(BOUNDS, counts, total)
            found.append(Measure(f"troupe_app_{name}", "histogram", "Recorded by handlers.", value, labels))
    return found
