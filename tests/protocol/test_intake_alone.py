"""The intake where it needs a system of its own: a pod with a signing key, a full command stream."""

from __future__ import annotations

from typing import Any

import msgspec
import nats
import pytest

from runtime.jetstream.streams import StreamSettings, ensure
from schemas import headers as h
from schemas.signature import sign
from tests.protocol.sessions import adding, ends, facts, fill, serving, stored
from tests.support.system import System, until

pytestmark = pytest.mark.anyio

SECRET = "a signing key that only gateways and pods have"


async def test_given_a_signed_intent_then_the_principal_is_proved_and_a_claimed_one_is_not(system: System) -> None:
    args = {"amount": 1}
    signature = sign(
        SECRET.encode(), subject="cmd.default.counter.who.add", id="signed", body=msgspec.json.encode(args),
        principal="ann", expires_at=4_000_000_000,
    )  # fmt: skip
    async with system.pod(signing_key=SECRET), serving(system), system.client() as client:
        for id, headers in (
            ("signed", {h.PRINCIPAL: "ann", h.SIGNATURE: signature}),
            ("claimed", {h.PRINCIPAL: "ann"}),
            ("forged", {h.PRINCIPAL: "root", h.SIGNATURE: signature}),
        ):
            body = msgspec.json.encode(adding("who", 1, id=id))
            await client.connection.jetstream().publish("intent.default.who", body, headers=headers)
        await facts(client, "who", ends(3))
    rows = system.sql("SELECT command_id, principal FROM events WHERE type = 'Added'")
    assert dict(rows) == {"signed": "ann", "claimed": None, "forged": None}


async def test_given_a_full_command_stream_then_intents_wait_in_order_and_go_on_when_there_is_room(
    system: System,
) -> None:
    connection = await nats.connect(system.nats_url)
    jetstream = connection.jetstream()
    async with system.client() as client:
        await ensure(client.connection, StreamSettings(partitions=system.partitions))
        await fill(jetstream)
        async with serving(system):
            for number in range(5):
                await client.intent("full", adding("full", number))
            await until(lambda: refused(jetstream))
            assert await stored(system, "INTENT") == 5
            await jetstream.purge_stream("CMD")
            async with system.pod():
                seen = await facts(client, "full", ends(5))
        events = [msgspec.json.decode(fact.data)["amount"] for fact in seen if fact.type == "event"]
        assert events == list(range(5))
    await connection.close()


async def refused(jetstream: Any) -> bool:
    """Whether an intake has taken an intent, which CMD has no room for."""
    consumers = await jetstream.consumers_info("INTENT")
    return any(consumer.num_ack_pending for consumer in consumers)
