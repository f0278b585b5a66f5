"""One trace from whoever asks to the reply: HTTP, client, broker, turn, commit."""

from __future__ import annotations

import asyncio
import json
import secrets
import urllib.request
from typing import Any

import pytest

from runtime.client import tracing
from runtime.errors import CallFailed, Rejected
from runtime.telemetry import Telemetry
from schemas.headers import TRACEPARENT
from schemas.wire import Intent
from tests.support.system import System, until
from tests.telemetry.collector import Collector, Span
from tests.telemetry.conftest import Start

pytestmark = pytest.mark.anyio


def new_trace(flags: str = "01") -> tuple[str, str, str]:
    """A trace that somebody else began: (its id, the span's id, the header)."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, f"00-{trace_id}-{span_id}-{flags}"


async def spans(collector: Collector, trace_id: str, *names: str) -> dict[str, Span]:
    """The spans of a trace by name, once those with these names have come."""
    await until(lambda: set(names) <= set(collector.trace(trace_id)))
    return collector.trace(trace_id)


async def test_given_an_ask_then_client_wait_turn_commit_and_reply_are_one_trace(
    shared_system: System, collector: Collector, pod: dict[str, Any], traced: Telemetry
) -> None:
    trace_id, root, header = new_trace()
    async with shared_system.client() as client:
        await client.ask("counter", "traced", "add", {"amount": 1}, id="ask-1", headers={TRACEPARENT: header})
    found = await spans(collector, trace_id, "ask counter.add", "wait", "turn counter.add", "commit", "reply")
    ask, turn = found["ask counter.add"], found["turn counter.add"]
    assert ask.parent == root
    assert found["wait"].parent == turn.parent == ask.id
    assert found["commit"].parent == found["reply"].parent == turn.id
    assert (ask.service, turn.service) == ("test", "troupe-pod")
    assert turn.attributes | {"troupe.lane": 0} == {
        "troupe.tenant": "default",
        "troupe.kind": "counter",
        "troupe.key": "traced",
        "troupe.method": "add",
        "troupe.command.id": "ask-1",
        "troupe.lane": 0,
    }
    assert found["wait"].began <= found["wait"].ended <= turn.began <= turn.ended <= found["commit"].began
    assert found["commit"].began <= found["commit"].ended <= found["reply"].ended
    assert ask.began < turn.began
    assert not any(span.failed for span in found.values())


async def test_given_a_batch_then_its_span_is_linked_to_its_turns_and_their_commits_to_it(
    shared_system: System, collector: Collector, pod: dict[str, Any], traced: Telemetry
) -> None:
    trace_id, _, header = new_trace()
    async with shared_system.client() as client:
        await client.ask("counter", "linked", "add", {"amount": 1}, headers={TRACEPARENT: header})
    found = await spans(collector, trace_id, "commit", "turn counter.add")
    [batch_link] = found["commit"].links

    def batch() -> Span | None:
        return next((span for span in collector.spans if (span.trace_id, span.id) == batch_link), None)

    whole = await until(batch)
    assert whole.name == "batch"
    assert whole.attributes["troupe.batch.size"] >= 1
    assert (trace_id, found["turn counter.add"].id) in whole.links


async def test_given_actors_in_memory_and_others_in_one_batch_then_every_turn_is_a_span(
    shared_system: System, collector: Collector, pod: dict[str, Any], traced: Telemetry
) -> None:
    traces = [new_trace() for _ in range(60)]
    async with shared_system.client() as client:
        await client.ask("counter", "warm", "add", {"amount": 1})
        keys = ["warm" if n % 2 else f"cold-{n}" for n in range(len(traces))]
        asked = [
            client.ask("counter", key, "add", {"amount": 1}, headers={TRACEPARENT: header})
            for key, (_, _, header) in zip(keys, traces, strict=True)
        ]
        await asyncio.gather(*asked)
    for trace_id, _, _ in traces:
        await spans(collector, trace_id, "turn counter.add", "commit")


async def test_given_failures_then_their_spans_say_so_and_a_refusal_is_none(
    shared_system: System, collector: Collector, pod: dict[str, Any], traced: Telemetry
) -> None:
    failed, refused = new_trace(), new_trace()
    async with shared_system.client() as client:
        with pytest.raises(CallFailed):
            await client.ask("counter", "bad", "boom", headers={TRACEPARENT: failed[2]})
        with pytest.raises(Rejected):
            await client.ask("counter", "bad", "take", {"amount": 1}, headers={TRACEPARENT: refused[2]})
    found = await spans(collector, failed[0], "ask counter.boom", "turn counter.boom")
    assert found["ask counter.boom"].attributes["troupe.error.code"] == "handler_failed"
    assert found["turn counter.boom"].attributes["troupe.error"] == "ValueError: boom"
    assert found["ask counter.boom"].failed
    assert found["turn counter.boom"].failed
    found = await spans(collector, refused[0], "ask counter.take", "turn counter.take")
    assert "only 0 are left" in found["turn counter.take"].attributes["troupe.error"]
    assert not any(span.failed for span in found.values())


async def test_given_a_function_then_the_time_it_ran_is_a_span(
    shared_system: System, collector: Collector, pod: dict[str, Any], traced: Telemetry
) -> None:
    trace_id, _, header = new_trace()
    async with shared_system.client() as client:
        args = {"item": "a", "quantity": 1, "seconds": 0.3}
        await client.ask("cart", "traced", "put_slowly", args, headers={TRACEPARENT: header})
    found = await spans(collector, trace_id, "turn cart.put_slowly", "commit", "reply")
    assert found["turn cart.put_slowly"].ended - found["turn cart.put_slowly"].began >= 0.3e9


async def test_given_a_message_to_another_actor_then_its_turn_is_in_the_trace(
    shared_system: System, collector: Collector, pod: dict[str, Any], traced: Telemetry
) -> None:
    trace_id, _, header = new_trace()
    async with shared_system.client() as client:
        await client.ask("counter", "from", "add", {"amount": 5})
        await client.tell("counter", "from", "forward", {"to": "there", "amount": 5}, headers={TRACEPARENT: header})
    found = await spans(collector, trace_id, "publish counter.forward", "turn counter.forward", "turn counter.add")
    assert found["turn counter.add"].attributes["troupe.key"] == "there"
    assert "reply" not in found


async def test_given_a_trace_that_is_not_to_be_recorded_then_the_pod_makes_no_spans(
    shared_system: System, collector: Collector, pod: dict[str, Any]
) -> None:
    assert tracing.active is None
    unwanted, wanted = new_trace("00"), new_trace()
    async with shared_system.client() as client:
        await client.ask("counter", "unwanted", "add", {"amount": 1}, headers={TRACEPARENT: unwanted[2]})
        await client.ask("counter", "unwanted", "add", {"amount": 1}, headers={TRACEPARENT: "nonsense"})
        await client.ask("counter", "unwanted", "add", {"amount": 1}, headers={TRACEPARENT: wanted[2]})
    await spans(collector, wanted[0], "turn counter.add")
    assert collector.trace(unwanted[0]) == {}


async def test_given_a_query_then_it_is_a_span_of_the_client(
    shared_system: System, collector: Collector, pod: dict[str, Any], traced: Telemetry
) -> None:
    async with shared_system.client() as client:
        await client.query("counter", "queried", "value")
    await until(lambda: any(span.name == "query counter.value" for span in collector.spans))


async def test_given_http_then_the_request_and_all_that_follows_are_one_trace(
    shared_system: System, collector: Collector, pod: dict[str, Any], start: Start
) -> None:
    url = start("gateway", gateway_port=0)["url"]
    trace_id, root, header = new_trace()
    body = {"kind": "counter", "key": "http", "method": "add", "args": {"amount": 1}}
    request = urllib.request.Request(
        f"{url}/intent", json.dumps(body).encode(), {"Content-Type": "application/json", TRACEPARENT: header}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response)["result"] == 1
        told = response.headers[TRACEPARENT]
    names = ("POST /intent", "ask counter.add", "wait", "turn counter.add", "commit", "reply")
    found = await spans(collector, trace_id, *names)
    assert found["POST /intent"].parent == root
    assert found["ask counter.add"].parent == found["POST /intent"].id
    assert found["turn counter.add"].parent == found["ask counter.add"].id
    assert found["POST /intent"].attributes["http.response.status_code"] == 200
    assert told == f"00-{trace_id}-{found['POST /intent'].id}-01"
    assert found["POST /intent"].service == "troupe-gateway"


async def test_given_an_intent_then_the_intake_is_in_the_trace(
    shared_system: System, collector: Collector, pod: dict[str, Any], start: Start, traced: Telemetry
) -> None:
    start("actors.intake")
    async with shared_system.client() as client:
        await client.intent("traced", Intent("counter", "by-intent", "add", {"amount": 1}, id="traced-intent"))

    def turn() -> Span | None:
        return next((s for s in collector.spans if s.attributes.get("troupe.key") == "by-intent"), None)

    trace_id = (await until(turn)).trace_id

    def services() -> bool:
        found = {span.service for span in collector.spans if span.trace_id == trace_id}
        return found == {"test", "troupe-intake", "troupe-pod"}

    await until(services)
    await spans(collector, trace_id, "publish intent", "turn counter.add", "commit")
