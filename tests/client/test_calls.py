"""Asking: what goes over the wire, what comes back, and what happens when nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import msgspec
import pytest
from pydantic import BaseModel

from runtime.client import Client, Connection, connect
from runtime.client.objects import MAX_OBJECT_BYTES, Objects, digest_of
from runtime.errors import CallFailed, NotConnected, Rejected
from runtime.jetstream.streams import StreamSettings, ensure
from schemas import headers as h
from schemas.signature import verify
from schemas.wire import Reply
from tests.client.nats_process import Broker
from tests.client.peer import Peer, Seen, echo, failing, silent
from tests.support.patience import PATIENCE_S, out_of_time

pytestmark = pytest.mark.anyio


class Deposit(msgspec.Struct):
    amount: int


async def test_given_an_actor_that_answers_then_ask_gives_its_result_as_the_type_asked_for(
    client: Client, peer: Peer
) -> None:
    assert await client.ask("account", "alice", "deposit", {"amount": 3}) == {"amount": 3}
    assert await client.ask("account", "alice", "deposit", Deposit(4), type=Deposit) == Deposit(4)
    assert await client.ask("account", "alice", "close") is None
    first, second, third = peer.commands
    assert first.subject == "cmd.acme.account.alice.deposit"
    assert first.args == {"amount": 3}
    assert third.body == b""
    assert first.headers[h.REPLY].startswith("_INBOX.acme.")
    assert first.headers[h.REPLY_MODE] == h.BATCH_REPLIES
    assert not first.acknowledged
    assert first.headers[h.ID] != second.headers[h.ID]


async def test_replies_may_come_one_by_one_or_as_a_list_in_any_order(client: Client, peer: Peer) -> None:
    peer.on_command = silent
    calls = [asyncio.ensure_future(client.ask("account", str(n), "echo", n)) for n in range(3)]
    await peer.until_commands(3)
    replies = [echo(seen) for seen in reversed(peer.commands)]
    inbox = peer.commands[0].headers[h.REPLY]
    peer.connection.post(inbox, msgspec.json.encode(replies[:2]))
    peer.connection.post(inbox, b"not a reply at all")
    peer.connection.post(inbox, msgspec.json.encode(replies[2]))
    assert await asyncio.gather(*calls) == [0, 1, 2]


async def test_given_the_actor_refuses_then_ask_raises_rejected_with_the_details(client: Client, peer: Peer) -> None:
    peer.on_command = failing("rejected", "insufficient funds", details={"missing": 5})
    with pytest.raises(Rejected, match=r"^insufficient funds$") as failure:
        await client.ask("account", "alice", "withdraw", {"amount": 5})
    assert failure.value.details == {"missing": 5}


async def test_given_a_failure_then_ask_raises_it_with_code_and_path(client: Client, peer: Peer) -> None:
    peer.on_command = failing("invalid_arguments", "Expected `int`", path="$.amount")
    with pytest.raises(CallFailed, match="Expected `int`") as failure:
        await client.ask("account", "alice", "withdraw", {"amount": "x"})
    assert (failure.value.code, failure.value.path) == ("invalid_arguments", "$.amount")


async def test_given_a_result_of_another_type_then_ask_says_so(client: Client, peer: Peer) -> None:
    with pytest.raises(CallFailed, match="not what the caller expects") as failure:
        await client.ask("account", "alice", "echo", "text", type=int)
    assert failure.value.code == "bad_result"


async def test_given_a_lost_reply_then_the_same_id_is_sent_again_with_an_acknowledgement(
    client: Client, peer: Peer
) -> None:
    peer.on_command = lambda seen: echo(seen) if seen.acknowledged else None
    assert await client.ask("account", "alice", "echo", 7) == 7
    first, second = peer.commands
    assert not first.acknowledged
    assert second.acknowledged
    assert first.headers == second.headers
    assert first.body == second.body


async def test_given_one_id_for_two_actors_at_once_then_each_call_gets_its_own_answer(
    client: Client, peer: Peer
) -> None:
    peer.on_command = silent
    alice = asyncio.ensure_future(client.ask("account", "alice", "echo", "a", id="same"))
    bob = asyncio.ensure_future(client.ask("account", "bob", "echo", "b", id="same"))
    await peer.until_commands(2)
    for seen in reversed(peer.commands):
        assert seen.headers[h.ID] == "same"
        peer.reply(seen.headers[h.REPLY], echo(seen))
    assert [await alice, await bob] == ["a", "b"]


async def test_given_nobody_answers_then_the_timeout_names_the_id_to_ask_again_with(client: Client, peer: Peer) -> None:
    peer.on_command = silent
    with pytest.raises(CallFailed, match="ask again with its id") as failure:
        await client.ask("account", "alice", "echo", timeout_s=0.2)
    assert failure.value.code == "timeout"
    await peer.until_commands(1)
    assert failure.value.details == {"id": peer.commands[0].headers[h.ID], "stored": False}


async def test_given_a_repeat_was_acknowledged_then_the_timeout_says_that_the_command_is_stored(
    client: Client, peer: Peer
) -> None:
    peer.on_command = silent
    failure = await out_of_time(
        lambda timeout_s: client.ask("account", "alice", "echo", timeout_s=timeout_s),
        "it is stored and may still be processed",
        1.5,
    )
    assert failure.details["stored"] is True


async def test_given_a_process_that_has_to_go_then_its_calls_end_as_if_their_time_were_over(
    client: Client, peer: Peer
) -> None:
    peer.on_command = silent
    call = asyncio.ensure_future(client.ask("account", "alice", "echo", timeout_s=600))
    await peer.until_commands(1)
    client.give_up()
    with pytest.raises(CallFailed, match="not answered in time"):
        await call


async def test_given_a_kind_that_nobody_serves_then_ask_says_so_long_before_its_timeout(
    client: Client, peer: Peer
) -> None:
    peer.on_command = silent
    with pytest.raises(CallFailed, match="no pod serves the kind 'acount'") as failure:
        await client.ask("acount", "alice", "echo", timeout_s=600)
    assert failure.value.code == "unknown_kind"


async def test_given_a_full_stream_then_ask_and_tell_say_so(client: Client, connection: Connection) -> None:
    await connection.jetstream().delete_stream("CMD")
    await ensure(connection, StreamSettings(cmd_max_bytes=1024))
    body = "x" * 2000
    for call in (client.ask, client.tell):
        with pytest.raises(CallFailed, match="maximum bytes exceeded") as failure:
            await call("account", "alice", "echo", body, timeout_s=600)
        assert failure.value.code == "stream_full"


async def test_given_no_stream_then_ask_and_tell_name_it_when_their_time_is_over(
    client: Client, connection: Connection
) -> None:
    await connection.jetstream().delete_stream("CMD")
    for call, first_s in ((client.ask, 1.3), (client.tell, 0.3)):
        job = partial(call, "account", "alice", "echo")
        failure = await out_of_time(
            lambda timeout_s: job(timeout_s=timeout_s),  # noqa: B023  # it ends before the next one
            "the stream is missing",
            first_s,
        )
        assert failure.code == "unavailable"


async def test_given_a_cancelled_call_then_nothing_of_it_stays(client: Client, peer: Peer) -> None:
    peer.on_command = silent
    for id in (None, "mine"):
        call = asyncio.ensure_future(client.ask("account", "alice", "echo", id=id))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    await client.tell("account", "alice", "echo")
    assert client._calls._pending == {}
    assert client._inbox._receivers == {}
    assert len(client.connection.resumed) == 1


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda c: c.ask("account", "", "echo"), "bad_address"),
        (lambda c: c.ask("account", "\ud800", "echo"), "bad_address"),
        (lambda c: c.ask("account", "k" * 201, "echo"), "bad_address"),
        (lambda c: c.ask("no such.kind", "alice", "echo"), "bad_address"),
        (lambda c: c.ask("account", "alice", "no method!"), "bad_address"),
        (lambda c: c.ask("account", "alice", "echo", object()), "invalid_arguments"),
        (lambda c: c.ask("account", "alice", "echo", "\ud800"), "invalid_arguments"),
        (lambda c: c.ask("account", "alice", "echo", id="two words"), "bad_request"),
        (lambda c: c.ask("account", "alice", "echo", id=""), "bad_request"),
        (lambda c: c.ask("account", "alice", "echo", session=""), "bad_address"),
        (lambda c: c.ask("account", "alice", "echo", session=" s"), "bad_address"),
        (lambda c: c.ask("account", "alice", "echo", headers={"A": "1\r\nTroupe-Principal: root"}), "bad_request"),
        (lambda c: c.tell("account", "", "echo"), "bad_address"),
        (lambda c: c.submit("account", "alice", "echo", id="é"), "bad_request"),
        (lambda c: c.query("account", "", "balance"), "bad_address"),
    ],
)
async def test_what_cannot_be_sent_is_refused_at_once(client: Client, call: Callable[[Client], Any], code: str) -> None:
    with pytest.raises(CallFailed) as failure:
        await call(client)
    assert failure.value.code == code


@pytest.mark.parametrize("key", ["a.b", "a*", ">", "two words", "ключ", "%2E", "a/b\n"])
async def test_any_other_key_is_one_token_of_the_subject(client: Client, peer: Peer, key: str) -> None:
    assert await client.ask("account", key, "echo", key) == key
    assert len(peer.commands[0].subject.split(".")) == 5


async def test_the_envelope_goes_into_the_headers(client: Client, peer: Peer) -> None:
    await client.ask(
        "account", "alice", "echo", session="sé", correlation_id="c1", deadline_s=60, headers={"traceparent": "00-1"}
    )
    seen = peer.commands[0].headers
    assert (seen[h.SESSION], seen[h.CORRELATION], seen["traceparent"]) == ("sé", "c1", "00-1")
    assert int(seen[h.DEADLINE]) / 1000 - client._clock.now() == pytest.approx(60, abs=59)


async def test_given_a_signing_key_then_the_principal_is_signed_over_this_very_message(
    shared_broker: Broker, peer: Peer
) -> None:
    key = b"k" * 32
    async with await Client.connect(shared_broker.url, "acme", signing_key=key) as client:
        await client.ask("account", "alice", "echo", 1, principal="ann")
        seen = peer.commands[0]
        parts = {"subject": seen.subject, "id": seen.headers[h.ID], "body": seen.body}
        verify(key, seen.headers[h.SIGNATURE], **parts, principal="ann", now=client._clock.now())  # type: ignore[arg-type]  # mixed values


async def test_given_a_large_body_then_the_message_carries_its_digest_and_the_object_holds_it(
    client: Client, connection: Connection, peer: Peer
) -> None:
    peer.on_command = lambda seen: Reply(seen.headers[h.ID], 1)
    text = "x" * (connection.max_payload - 100)
    await client.ask("account", "alice", "echo", text)
    seen = peer.commands[0]
    kept = await Objects(connection).get(seen.headers[h.OBJECT])
    assert msgspec.json.decode(kept) == text
    assert seen.body == digest_of(kept)
    assert seen.headers[h.OBJECT].startswith("acme/")
    with pytest.raises(CallFailed, match="not in the object store"):
        await Objects(connection).get("acme/other")


async def test_given_a_body_beyond_every_limit_then_it_is_refused_with_both_sizes(client: Client) -> None:
    with pytest.raises(CallFailed, match=f"the limit is {MAX_OBJECT_BYTES}") as failure:
        await client.ask("account", "alice", "echo", "x" * MAX_OBJECT_BYTES)
    assert failure.value.code == "too_large"


async def test_given_the_client_is_closed_then_waiting_calls_end(client: Client, peer: Peer) -> None:
    peer.on_command = silent
    call = asyncio.ensure_future(client.ask("account", "alice", "echo"))
    await peer.until_commands(1)
    await client.close()
    with pytest.raises(NotConnected, match="closed before command"):
        await call
    with pytest.raises(NotConnected, match="closed"):
        await client.ask("account", "alice", "echo")


async def test_given_a_client_for_another_tenant_then_it_shares_the_connection_and_nothing_else(
    client: Client, peer: Peer
) -> None:
    other = await client.for_tenant("globex")
    assert await other.ask("account", "alice", "echo", 1) == 1
    assert peer.commands[0].subject.startswith("cmd.globex.")
    assert peer.commands[0].headers[h.REPLY].startswith("_INBOX.globex.")
    await other.close()
    assert await client.ask("account", "alice", "echo", 2) == 2


class Restarts:
    """A broker of the test's own, a client, and a peer that answers on it."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    async def __aenter__(self) -> Self:
        self.connection = await connect(self.broker.url, name="peer")
        await ensure(self.connection, StreamSettings(partitions=8))
        self.peer = Peer(self.connection, 8)
        await self.peer.open()
        self.client = await Client.connect(self.broker.url, "acme")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        await self.connection.close()

    async def down(self) -> None:
        """Kills the broker, and waits until both sides have seen it."""
        self.broker.kill()
        async with asyncio.timeout(PATIENCE_S):
            while self.client.connection.connected.is_set() or self.connection.connected.is_set():
                await asyncio.sleep(0.01)

    async def up(self) -> None:
        """Brings the broker back."""
        await asyncio.to_thread(self.broker.start)


async def test_given_the_broker_dies_while_calls_wait_then_they_go_on_when_it_is_back(broker: Broker) -> None:
    async with Restarts(broker) as system:
        system.peer.on_command = silent
        early = asyncio.ensure_future(system.client.ask("account", "alice", "echo", "early", timeout_s=60))
        await system.peer.until_commands(1)
        await system.down()
        system.peer.on_command = echo
        late = asyncio.ensure_future(system.client.ask("account", "alice", "echo", "late", timeout_s=60))
        told = asyncio.ensure_future(system.client.tell("account", "alice", "echo", "told", id="t", timeout_s=60))
        await asyncio.sleep(0.1)
        await system.up()
        assert [await early, await late, await told] == ["early", "late", "t"]


async def test_given_the_broker_comes_back_then_calls_do_not_wait_for_their_next_repeat(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.client.calls.FIRST_REPEAT_S", 600.0)
    async with Restarts(broker) as system:
        system.peer.on_command = silent
        call = asyncio.ensure_future(system.client.ask("account", "alice", "echo", 1, timeout_s=1000))
        await system.peer.until_commands(1)
        await system.down()
        await system.up()
        async with asyncio.timeout(PATIENCE_S):
            assert await system.connection.wait_connected(PATIENCE_S)
            jetstream = system.connection.jetstream()
            while (await jetstream.stream_info("CMD")).state.messages < 2:
                await asyncio.sleep(0.02)
        first, second = [await jetstream.get_msg("CMD", seq) for seq in (1, 2)]
        assert first.headers == second.headers
        call.cancel()


async def test_given_the_broker_stays_away_then_the_error_says_whether_the_command_was_sent(broker: Broker) -> None:
    async with Restarts(broker) as system:
        system.peer.on_command = silent
        sent = asyncio.ensure_future(system.client.ask("account", "alice", "echo", timeout_s=600))
        await system.peer.until_commands(1)
        await system.down()
        with pytest.raises(NotConnected, match="was not sent"):
            await system.client.ask("account", "alice", "echo", timeout_s=0.1)
        with pytest.raises(NotConnected, match="not known to be stored"):
            await system.client.tell("account", "alice", "echo", timeout_s=0.1)
        system.client.give_up()
        with pytest.raises(NotConnected, match="may have been stored"):
            await sent


async def test_given_a_repeat_then_one_that_is_seen_twice_has_one_id(client: Client, peer: Peer) -> None:
    seen_ids: set[str] = set()

    def answer_second(seen: Seen) -> Reply | None:
        known = seen.headers[h.ID] in seen_ids
        seen_ids.add(seen.headers[h.ID])
        return echo(seen) if known else None

    peer.on_command = answer_second
    assert await asyncio.gather(*[client.ask("account", str(n), "echo", n) for n in range(100)]) == list(range(100))
    assert len(seen_ids) == 100


async def test_given_a_pydantic_model_then_it_goes_out_as_json_and_comes_back_as_the_model(
    client: Client, peer: Peer
) -> None:
    class Order(BaseModel):
        amount: int

    assert await client.ask("account", "alice", "deposit", Order(amount=3), type=Order) == Order(amount=3)
    assert await client.ask("account", "alice", "deposit", [Order(amount=3)], type=list[Order]) == [Order(amount=3)]
    with pytest.raises(CallFailed, match="not what the caller expects"):
        await client.ask("account", "alice", "deposit", {"amount": "many"}, type=Order)
