"""A pod's metrics are what it did: as Prometheus reads them, and as a collector gets them."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.errors import CallFailed, Misconfigured
from runtime.telemetry.measures import Buckets, Measure
from runtime.telemetry.prometheus import Endpoint, render
from runtime.telemetry.settings import TelemetrySettings, from_environment
from tests.support.system import ROOT, System, until
from tests.telemetry.collector import Collector

pytestmark = pytest.mark.anyio


def scrape(url: str) -> dict[str, float]:
    """Every sample by name; of histograms' buckets, each by its bound."""
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = response.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["group"] == "default"
            bound = sample.labels.get("le")
            found[sample.name if bound is None else f"{sample.name} {bound}"] = sample.value
    return found


async def test_given_work_then_prometheus_finds_exactly_it(shared_system: System, pod: dict[str, Any]) -> None:
    url = pod["metrics"]
    assert url.startswith("http://127.0.0.1:")
    before = scrape(url)
    async with shared_system.client() as client:
        for number in range(30):
            await client.ask("counter", f"m{number % 10}", "add", {"amount": 1}, id=f"m-{number}")
        await client.ask("counter", "m0", "add", {"amount": 1}, id="m-0")
        with pytest.raises(CallFailed):
            await client.ask("counter", "poison", "boom")
    after = scrape(url)

    def grown(name: str) -> float:
        return after[name] - before[name]

    assert grown("troupe_commands_total") == 31  # the repeat was not recorded again
    assert grown("troupe_repeated_total") == 1
    assert grown("troupe_parked_total") == 1
    assert grown("troupe_turns_total") == 30 + 3  # three attempts of the poison
    assert grown("troupe_replies_total") == 32
    assert grown("troupe_command_seconds_count") == 32  # taken from the stream and committed
    assert grown("troupe_batch_seconds_count") == grown("troupe_batches_total") == grown("troupe_batch_size_count")
    assert after["troupe_command_seconds_bucket +Inf"] == after["troupe_command_seconds_count"]
    assert after["troupe_activations"] == before["troupe_activations"] + 11
    assert after["troupe_owned_lanes"] == shared_system.partitions
    assert after["troupe_queued_commands"] == after["troupe_lag_commands"] == after["troupe_lag_seconds"] == 0


async def test_given_a_collector_then_it_gets_the_same_measures(
    shared_system: System, pod: dict[str, Any], collector: Collector
) -> None:
    async with shared_system.client() as client:
        await client.ask("counter", "otlp", "add", {"amount": 1})
    wanted = scrape(pod["metrics"])

    def arrived() -> bool:
        found = collector.metrics.get("troupe_commands_total")
        return found is not None and found.sum.data_points[0].as_int == wanted["troupe_commands_total"]

    await until(arrived)
    counter = collector.metrics["troupe_commands_total"]
    assert counter.sum.is_monotonic
    [histogram] = collector.metrics["troupe_command_seconds"].histogram.data_points
    assert histogram.count == sum(histogram.bucket_counts) == wanted["troupe_command_seconds_count"]
    assert len(histogram.bucket_counts) == len(histogram.explicit_bounds) + 1
    assert collector.metrics["troupe_owned_lanes"].gauge.data_points[0].as_int == shared_system.partitions
    assert collector.metrics["troupe_command_seconds"].unit == "s"


def test_given_the_document_then_it_names_every_metric_and_every_variable(pod: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    documented = dict(re.findall(r"^\| `(troupe_\w+)` \| (\w+) \|", text, flags=re.MULTILINE))
    with urllib.request.urlopen(pod["metrics"], timeout=60) as response:
        served = dict(re.findall(r"^# TYPE (\w+) (\w+)$", response.read().decode(), flags=re.MULTILINE))
    assert documented == served
    code = "".join(file.read_text() for file in (ROOT / "runtime" / "telemetry").glob("*.py"))
    assert set(re.findall(r"RUNTIME_[A-Z_]+", code)) <= set(re.findall(r"`(RUNTIME_[A-Z_]+)`", text))


async def test_given_another_path_then_the_endpoint_says_what_there_is(pod: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(pod["metrics"].replace("/metrics", "/"), timeout=60)
    assert refused.value.code == 404
    refused.value.close()


async def test_given_bytes_that_are_no_request_then_the_endpoint_goes_on(pod: dict[str, Any]) -> None:
    host, port = pod["metrics"].removeprefix("http://").removesuffix("/metrics").split(":")
    for sent in (b"", b"\r\n\r\n", b"\xff" * 100_000 + b"\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(sent)
    assert "troupe_turns_total" in scrape(pod["metrics"])


async def test_given_a_port_that_is_taken_then_the_next_one_is_used() -> None:
    first, second = Endpoint(lambda: "first"), Endpoint(lambda: "second")
    url = await first.open("127.0.0.1", 0)
    port = int(url.removesuffix("/metrics").rpartition(":")[2])
    other = await second.open("127.0.0.1", port)
    assert other not in ("", url)
    await first.close()
    await second.close()


async def test_given_no_free_port_then_a_warning_is_all(caplog: pytest.LogCaptureFixture) -> None:
    assert await Endpoint(lambda: "").open("203.0.113.1", 9464) == ""
    assert "metrics are not served" in caplog.text


def test_given_measures_then_their_text_is_what_prometheus_reads() -> None:
    measures = [
        Measure("troupe_things_total", "counter", "Things.", 3),
        Measure("troupe_part_seconds", "gauge", "A part.", 0.25),
        Measure("troupe_size", "histogram", "Sizes.", Buckets((1, 2.5), (4, 0, 2), 11.5)),
    ]
    families = {one.name: one for one in text_string_to_metric_families(render(measures, {"pod": 'a"\\\n'}))}
    assert families["troupe_things"].samples[0].value == 3
    assert families["troupe_things"].samples[0].labels == {"pod": 'a"\\\n'}
    assert families["troupe_part_seconds"].samples[0].value == 0.25
    sizes = {(one.name, one.labels.get("le")): one.value for one in families["troupe_size"].samples}
    assert sizes == {
        ("troupe_size_bucket", "1"): 4,
        ("troupe_size_bucket", "2.5"): 4,
        ("troupe_size_bucket", "+Inf"): 6,
        ("troupe_size_sum", None): 11.5,
        ("troupe_size_count", None): 6,
    }


def test_given_the_environment_then_it_decides_and_nonsense_is_refused() -> None:
    assert not from_environment({}).on
    assert from_environment({"RUNTIME_OTLP_ENDPOINT": "http://c:4318/"}).otlp_endpoint == "http://c:4318"
    assert from_environment({"RUNTIME_METRICS_PORT": "9464"}) == TelemetrySettings(metrics_port=9464)
    for name, value in (
        ("RUNTIME_OTLP_ENDPOINT", "collector:4318"),
        ("RUNTIME_METRICS_PORT", "many"),
        ("RUNTIME_METRICS_PORT", "70000"),
        ("RUNTIME_METRICS_PORT", "1.5"),
        ("RUNTIME_METRICS_INTERVAL_S", "0"),
    ):
        with pytest.raises(Misconfigured, match=name):
            from_environment({name: value})
