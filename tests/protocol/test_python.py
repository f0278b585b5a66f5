"""nats-py calls actors with nothing but docs/protocol.md: what the other suites do not send by hand already."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.js.api import ObjectStoreConfig
from nats.js.errors import BucketNotFoundError

from tests.protocol.document import blocks
from tests.protocol.raw import Caller, token
from tests.protocol.sessions import serving
from tests.support.patience import PATIENCE_S
from tests.support.system import System

pytestmark = pytest.mark.anyio

SECRET = "a signing key that only gateways and pods have"


@pytest.fixture
async def caller(running: System) -> AsyncIterator[Caller]:
    caller = await Caller.connect(running.nats_url, "acme")
    yield caller
    await caller.close()


def proof(subject: str, id: str, body: bytes, principal: str, expiry: int) -> str:
    """Troupe-Signature, as the document describes it."""
    digest = hashlib.blake2b(body, digest_size=32).hexdigest()
    text = "\n".join(["v1", subject, id, digest, str(expiry), principal])
    mac = hmac.new(SECRET.encode(), text.encode(), "sha256").digest()
    return f"v1.{expiry}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


async def test_given_a_large_body_in_the_object_store_then_the_command_is_done(caller: Caller) -> None:
    body = json.dumps({"text": "x" * (3 * caller.connection.max_payload)}).encode()
    try:
        store = await caller.jetstream.object_store("troupe-commands")
    except BucketNotFoundError:
        store = await caller.jetstream.create_object_store("troupe-commands", ObjectStoreConfig(ttl=86_400))
    name = f"acme/{os.urandom(8).hex()}"
    await store.put(name, body)
    digest = hashlib.blake2b(body, digest_size=32).hexdigest().encode()
    reply = json.loads(await caller.send("cmd.acme.length.a.run", digest, {"Troupe-Object": name}))
    assert reply["result"] == 3 * caller.connection.max_payload


async def test_given_a_query_to_the_owner_then_it_answers(caller: Caller) -> None:
    await caller.ask("counter", "é.*", "add", {"amount": 3})
    info = json.loads((await caller.connection.request("svc.info", b"{}", timeout=PATIENCE_S)).data)["result"]
    found: dict[str, Any] = {}
    exec(blocks("python")[2], found)
    lane = found["partition"]("acme", "counter", token("é.*"), info["partitions"])
    asked = await caller.connection.request(f"q.{lane}.acme.counter.{token('é.*')}.value", timeout=PATIENCE_S)
    assert json.loads(asked.data)["result"] == 3
    described = await caller.connection.request(f"q.{lane}.acme.counter.{token('é.*')}.$describe", timeout=PATIENCE_S)
    assert json.loads(described.data)["result"]["seq"] == 1


async def test_given_a_command_without_headers_then_it_is_done_and_its_result_can_be_asked_for(
    caller: Caller,
) -> None:
    ack = await caller.jetstream.publish(caller.subject("counter", "silent", "add"), b'{"amount":1}')
    stored = await caller.jetstream.get_msg("CMD", ack.seq)
    assert stored.headers is None
    events = {"tenant": "acme", "kind": "counter", "key": "silent"}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await caller.connection.request("svc.log", json.dumps(events).encode(), timeout=PATIENCE_S)
            if found := json.loads(answer.data)["result"]["events"]:
                break
    assert found[0]["command_id"].startswith(f"seq-{ack.seq}-")
    info = json.loads((await caller.connection.request("svc.info", b"{}", timeout=PATIENCE_S)).data)["result"]
    lane = found[0]["lane"] % info["partitions"]
    question = json.dumps({"id": found[0]["command_id"], "wait_s": 5}).encode()
    asked = await caller.connection.request(f"q.{lane}.acme.counter.silent.$result", question, timeout=PATIENCE_S)
    assert json.loads(asked.data)["result"] == {"status": "done", "seq": 1, "result": 1}


async def test_given_a_session_then_its_facts_are_in_the_stream_and_in_the_log(running: System, caller: Caller) -> None:
    session = "salle à manger"
    reader = await caller.jetstream.subscribe(f"ev.acme.{token(session)}", stream="EV", ordered_consumer=True)
    await caller.ask("counter", "fact", "add", {"amount": 1}, {"Troupe-Session": session, "Troupe-Id": "by-command"})
    async with serving(running):
        intent = {"kind": "counter", "key": "fact", "method": "add", "args": {"amount": 2}, "id": "by-intent"}
        await caller.jetstream.publish(f"intent.acme.{token(session)}", json.dumps(intent).encode())
        facts = [json.loads((await reader.next_msg(timeout=PATIENCE_S)).data) for _ in range(4)]
    assert [(fact["command"], fact["type"], fact["data"]) for fact in facts] == [
        ("by-command", "event", {"amount": 1}),
        ("by-command", "result", 1),
        ("by-intent", "event", {"amount": 2}),
        ("by-intent", "result", 3),
    ]
    question = json.dumps({"tenant": "acme", "session": session}).encode()
    answer = await caller.connection.request("svc.session", question, timeout=PATIENCE_S)
    logged = json.loads(answer.data)["result"]["facts"]
    assert [fact["position"] for fact in logged] == [facts[0]["position"], facts[2]["position"]]
    await reader.unsubscribe()


async def test_given_a_signature_made_by_hand_then_the_principal_is_believed(system: System) -> None:
    caller = await Caller.connect(system.nats_url)
    async with system.pod(signing_key=SECRET):
        subject, body = caller.subject("counter", "signed", "add"), b'{"amount":1}'
        for id, told in (("right", "ann"), ("wrong", "root")):
            headers = {
                "Troupe-Id": id,
                "Troupe-Principal": told,
                "Troupe-Signature": proof(subject, id, body, "ann", 4_000_000_000),
            }
            await caller.send(subject, body, headers)
    assert dict(system.sql("SELECT command_id, principal FROM events")) == {"right": "ann", "wrong": None}
    await caller.close()
