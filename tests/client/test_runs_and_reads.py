"""Submitted runs, queries and services."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from runtime.client import Client, Connection
from runtime.errors import CallFailed, Rejected
from schemas import headers as h
from schemas.address import partition_of
from schemas.runs import RunStatus
from schemas.wire import Fact, Failure, Intent, Reply
from tests.client.nats_process import Broker
from tests.client.peer import Peer, Seen, echo, failing, silent
from tests.support.patience import out_of_time

pytestmark = pytest.mark.anyio


def answering(*statuses: RunStatus) -> list[Reply]:
    """What an owner answers to `$result`, one after the other."""
    return [Reply("", 0, msgspec.Raw(msgspec.json.encode(status))) for status in statuses]


async def test_given_a_told_command_then_the_stream_holds_it_and_nobody_is_asked_for_a_reply(
    client: Client, peer: Peer, connection: Connection
) -> None:
    id = await client.tell("account", "alice", "deposit", {"amount": 3})
    stored = await connection.jetstream().get_msg("CMD", 1)
    assert stored.data == b'{"amount":3}'
    assert (stored.headers or {})[h.ID] == id
    assert h.REPLY not in (stored.headers or {})


async def test_given_a_submitted_run_then_its_result_comes_as_soon_as_the_reply(client: Client, peer: Peer) -> None:
    peer.on_command = silent
    peer.on_query = silent
    await peer.serve_queries()
    run = await client.submit("account", "alice", "echo", 7)
    result = asyncio.ensure_future(run.result(int, timeout_s=60))
    await peer.until_commands(1)
    peer.reply(peer.commands[0].headers[h.REPLY], echo(peer.commands[0]))
    assert await result == 7
    assert await run.result(int) == 7


async def test_given_only_its_id_then_another_client_waits_for_the_result_at_the_owner(
    client: Client, peer: Peer, shared_broker: Broker
) -> None:
    run = await client.submit("account", "al.ice", "echo", 7, id="c1")
    replies = answering(RunStatus("unknown"), RunStatus("accepted", 3), RunStatus("done", 4, msgspec.Raw(b"7")))
    peer.on_query = lambda seen: replies.pop(0)
    await peer.serve_queries()
    async with await Client.connect(shared_broker.url, "acme") as other:
        assert await other.run(run.id).result(int, timeout_s=60) == 7
    partition = partition_of("acme", "account", "al%2Eice", peer.partitions)
    assert {seen.subject for seen in peer.queries} == {f"q.{partition}.acme.account.al%2Eice.$result"}
    assert [seen.args["id"] for seen in peer.queries] == ["c1"] * 3
    assert all(0 < seen.args["wait_s"] <= 10 for seen in peer.queries)


async def test_given_a_run_that_ended_badly_then_its_result_raises_what_the_command_raised(
    client: Client, peer: Peer
) -> None:
    replies = answering(
        RunStatus("rejected", 4, error=Failure("rejected", "no")),
        RunStatus("failed", 4, error=Failure("parked", "boom")),
    )
    peer.on_query = lambda seen: replies.pop(0)
    await peer.serve_queries()
    run = await client.submit("account", "alice", "echo", id="c1")
    with pytest.raises(Rejected, match="no"):
        await run.result()
    with pytest.raises(CallFailed, match="boom") as failure:
        await run.result()
    assert failure.value.code == "parked"


async def test_given_a_run_that_goes_on_then_waiting_for_it_ends_with_a_timeout(client: Client, peer: Peer) -> None:
    peer.on_query = lambda seen: answering(RunStatus("accepted", 1))[0]
    await peer.serve_queries()
    run = await client.submit("account", "alice", "echo", id="c1")
    assert (await run.status()).status == "accepted"
    failure = await out_of_time(lambda timeout_s: run.result(timeout_s=timeout_s), "its status is 'accepted'")
    assert failure.code == "timeout"


async def test_what_is_no_run_id_is_refused(client: Client) -> None:
    with pytest.raises(CallFailed, match="is not a run id") as failure:
        client.run("nonsense")
    assert failure.value.code == "bad_request"


async def test_given_an_owner_then_a_query_is_answered_by_it_alone(client: Client, peer: Peer) -> None:
    await peer.serve_queries()
    assert await client.query("account", "alice", "balance", {"at": 1}, type=dict) == {"at": 1}
    assert peer.queries[0].subject == f"q.{partition_of('acme', 'account', 'alice', 8)}.acme.account.alice.balance"
    assert peer.commands == []


async def test_given_an_owner_that_comes_late_then_the_query_waits_for_it(client: Client, peer: Peer) -> None:
    query = asyncio.ensure_future(client.query("account", "alice", "balance", 1, timeout_s=60))
    await asyncio.sleep(0.3)
    await peer.serve_queries()
    assert await query == 1


async def test_given_no_owner_then_the_query_says_that_nobody_answered(client: Client, peer: Peer) -> None:
    failure = await out_of_time(
        lambda timeout_s: client.query("account", "alice", "balance", timeout_s=timeout_s),
        "no pod answered balance of acme/account/alice",
    )
    assert failure.code == "unavailable"


async def test_given_a_kind_that_nobody_serves_then_the_query_says_so(client: Client, peer: Peer) -> None:
    with pytest.raises(CallFailed, match="no pod serves the kind 'acount'") as failure:
        await client.query("acount", "alice", "balance", timeout_s=600)
    assert failure.value.code == "unknown_kind"


async def test_given_a_query_that_fails_then_its_failure_is_raised(client: Client, peer: Peer) -> None:
    peer.on_query = failing("unknown_method", "no method 'balanse'")
    await peer.serve_queries()
    with pytest.raises(CallFailed, match="balanse"):
        await client.query("account", "alice", "balanse")


async def test_given_an_owner_that_loses_a_query_then_it_is_asked_again(client: Client, peer: Peer) -> None:
    def second(seen: Seen) -> Reply | None:
        return echo(seen) if len(peer.queries) > 1 else None

    peer.on_query = second
    await peer.serve_queries()
    reply = await client.read("account", "alice", "balance", b"1", timeout_s=60, attempt_s=0.2)
    assert bytes(reply.result) == b"1"


async def test_given_a_service_then_its_result_or_its_failure_comes_back(client: Client, peer: Peer) -> None:
    peer.services["ready"] = lambda request: {"pods": request}
    assert await client.service("ready", 2) == {"pods": 2}
    peer.services["ready"] = lambda request: Reply("", error=Failure("unavailable", "Postgres is gone"))
    await out_of_time(lambda timeout_s: client.service("ready", timeout_s=timeout_s), "Postgres is gone")


async def test_given_an_owner_that_has_just_left_then_the_query_finds_the_next_one(client: Client, peer: Peer) -> None:
    away = failing("unavailable", "this pod does not own the partition for sure")
    peer.on_query = lambda seen: away(seen) if len(peer.queries) < 3 else echo(seen)
    await peer.serve_queries()
    assert await client.query("account", "alice", "balance", 1) == 1


async def test_given_a_service_that_answers_facts_then_they_are_read_as_facts(client: Client, peer: Peer) -> None:
    fact = Fact("event", "Deposited", "1", "acme", "account", "alice", 1, data=msgspec.Raw(b'{"amount":3}'))
    peer.services["session"] = lambda request: {"facts": [fact]}
    found = await client.service("session", type=dict[str, list[Fact]])
    assert bytes(found["facts"][0].data) == b'{"amount":3}'


async def test_given_no_pod_then_a_service_is_unavailable(client: Client) -> None:
    with pytest.raises(CallFailed, match="no pod answered service 'ready'") as failure:
        await client.service("ready", timeout_s=0.2)
    assert failure.value.code == "unavailable"


async def test_given_an_intent_then_its_stream_holds_it_with_its_id(client: Client, connection: Connection) -> None:
    id = await client.intent("room 1", Intent("account", "alice", "deposit", {"amount": 3}))
    stored = await connection.jetstream().get_msg("INTENT", 1)
    assert stored.subject is not None
    assert stored.subject.endswith(".acme.room%201")
    assert msgspec.json.decode(stored.data or b"", type=Intent) == Intent(
        "account", "alice", "deposit", {"amount": 3}, id
    )
