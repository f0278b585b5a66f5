"""Bytes that no client library would send: each is answered or kept, and nobody else notices."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.protocol.raw import Caller, Wire
from tests.support.patience import PATIENCE_S
from tests.support.system import System, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def caller(running: System) -> AsyncIterator[Caller]:
    caller = await Caller.connect(running.nats_url)
    yield caller
    await caller.close()


@pytest.fixture
async def wire(running: System) -> AsyncIterator[Wire]:
    wire = Wire(running.nats_url)
    yield wire
    wire.close()


async def works(caller: Caller) -> None:
    """The pod does what it should."""
    before = await caller.ask("counter", "healthy", "add", {"amount": 1})
    after = await caller.ask("counter", "healthy", "add", {"amount": 1})
    assert after["result"] == before["result"] + 1


@pytest.mark.parametrize(
    "subject",
    [
        b"cmd.default.counter.\xff.add",
        b"cmd.default.counter.a\x00b.add",
        b"cmd.default.counter.a\x0bb.add",
        b"cmd.default.counter.a\x0cb.add",
        b"cmd.default.counter.%61.add",
        b"cmd.default.counter.%ED%A0%80.add",
        b"cmd.default.counter." + b"k" * 3000 + b".add",
    ],
)
async def test_given_a_token_that_spells_no_key_then_its_sender_is_told_and_the_next_command_is_done(
    caller: Caller, wire: Wire, subject: bytes
) -> None:
    inbox = caller.connection.new_inbox()
    replies = await caller.connection.subscribe(inbox)
    await caller.connection.flush()
    wire.publish(subject, b"\r\nTroupe-Reply: " + inbox.encode(), b'{"amount":1}')
    reply = await replies.next_msg(timeout=PATIENCE_S)
    assert b'"code":"bad_address"' in reply.data
    await works(caller)


@pytest.mark.parametrize(
    ("subject", "tenant", "method"),
    [
        (b"cmd.default.counter.a.add", "default", "add"),
        (b"cmd.default.counter.a.a\x00d", "default", "a\\x00d"),
        (b"cmd.default.counter.a.\xff", "default", "\\\\xff"),
        (b"cmd.a$b.counter.a.add", "a$b", "add"),
        (b"cmd.a\x00b.counter.a.add", "a\\x00b", "add"),
        (b"cmd.default.counter.a\x00b.add", "default", "add"),
        (b"cmd." + b"t" * 3000 + b".counter.a.add", "t" * 200, "add"),
    ],
)
async def test_given_a_reply_subject_of_somebody_else_then_the_command_is_among_the_dead_letters_whatever_its_name(
    running: System, caller: Caller, wire: Wire, subject: bytes, tenant: str, method: str
) -> None:
    before = running.sql("SELECT coalesce(max(id), 0) FROM dead_letters")[0][0]
    wire.publish(subject, b"\r\nTroupe-Reply: _INBOX.other.me\r\nTroupe-Session: s\r\nX: \xff\x00", b'{"amount":1}')
    await works(caller)
    rows = await until(lambda: running.sql("SELECT tenant, method, code FROM dead_letters WHERE id > %s", before))
    assert rows == [(tenant, method, "bad_reply_subject")]


@pytest.mark.parametrize(
    "reply",
    [
        b"_INBOX.default.x 0\n\nPUB evil 0\n\n",
        b"_INBOX.default.x y",
        b"_INBOX.default.>",
        b"_INBOX.default.*",
        b"_INBOX.default.\xc3\xa9",
        b"_INBOX.default." + b"x" * 3000,
    ],
)
async def test_given_a_reply_subject_that_is_none_then_nothing_is_published_and_the_command_is_a_dead_letter(
    running: System, caller: Caller, wire: Wire, reply: bytes
) -> None:
    evil = await caller.connection.subscribe("evil")
    before = running.sql("SELECT coalesce(max(id), 0) FROM dead_letters")[0][0]
    wire.publish(b"cmd.default.counter.inject.add", b"\r\nTroupe-Reply: " + reply, b'{"amount":1}')
    await works(caller)
    rows = await until(lambda: running.sql("SELECT code FROM dead_letters WHERE id > %s", before))
    assert rows == [("bad_reply_subject",)]
    await caller.connection.flush()
    assert evil.pending_msgs == 0
    assert running.sql("SELECT count(*) FROM actors WHERE key = 'inject'") == [(0,)]


@pytest.mark.parametrize("deadline", ["", "soon", "-1", "1.5", "\u0663", "9" * 26, "9" * 5000])
async def test_given_a_deadline_that_is_no_time_then_the_sender_is_told(caller: Caller, deadline: str) -> None:
    reply = await caller.ask("counter", "deadline", "add", {"amount": 1}, {"Troupe-Deadline": deadline})
    assert reply["error"]["code"] == "bad_request"
    assert "Troupe-Deadline" in reply["error"]["message"]
    await works(caller)


async def test_given_no_tenant_then_a_session_header_hurts_nobody(caller: Caller, wire: Wire) -> None:
    wire.publish(b"cmd.a$b.counter.a.add", b"\r\nTroupe-Session: s", b'{"amount":1}')
    wire.publish(b"cmd.a$b.counter.a.add", b"\r\nTroupe-Session: a\x00b", b'{"amount":1}')
    await works(caller)


async def test_given_headers_that_pass_for_a_status_then_the_command_is_done(caller: Caller, wire: Wire) -> None:
    inbox = caller.connection.new_inbox()
    replies = await caller.connection.subscribe(inbox)
    await caller.connection.flush()
    for status in (b" 503", b" 100 Idle Heartbeat", b" 404 No Messages"):
        wire.publish(
            b"cmd.default.counter.status.add", status + b"\r\nTroupe-Reply: " + inbox.encode(), b'{"amount":1}'
        )
        assert b'"error"' not in (await replies.next_msg(timeout=PATIENCE_S)).data
    await works(caller)


async def test_given_core_requests_with_subjects_that_are_not_text_then_the_pod_stays_connected(
    caller: Caller, wire: Wire
) -> None:
    for subject in (
        b"call.default.counter.\xff.add",
        b"call.default.counter.a\x0bb.add",
        b"q.0.default.counter.\xff.value",
        b"svc.\xff",
        b"svc.info",
        b"commits.\xff",
        b"$SRV.INFO.\xff",
    ):
        wire.publish(subject, body=b"\xff", reply=b"_INBOX.default.nobody")
    await works(caller)
