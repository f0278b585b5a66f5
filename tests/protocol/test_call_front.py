"""The request/reply front: calls by plain `nats req`, found by NATS's own discovery."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg

from tests.protocol.raw import Caller, Wire, token
from tests.protocol.sessions import fill, keep_untrimmed
from tests.support.patience import PATIENCE_S
from tests.support.system import System, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def caller(running: System) -> AsyncIterator[Caller]:
    caller = await Caller.connect(running.nats_url)
    yield caller
    await caller.close()


async def request(caller: Caller, subject: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Msg:
    return await caller.connection.request(subject, body, timeout=PATIENCE_S, headers=headers)


def failure(message: Msg) -> Any:
    """The error of a reply, which is marked as ADR-32 has it."""
    error = json.loads(message.data)["error"]
    assert message.headers is not None
    assert message.headers["Nats-Service-Error"].startswith(f"{error['code']}: ")
    assert message.headers["Nats-Service-Error-Code"].isdigit()
    return error


async def test_given_plain_requests_then_commands_are_done_and_queries_answered(caller: Caller) -> None:
    call = f"call.default.counter.{token('é.* >')}"
    first = await request(caller, f"{call}.add", b'{"amount":2}', {"Troupe-Id": "once"})
    again = await request(caller, f"{call}.add", b'{"amount":2}', {"Troupe-Id": "once"})
    assert json.loads(first.data) == {"id": "once", "seq": 1, "result": 2}
    assert json.loads(again.data) == {"id": "once", "seq": 1, "result": 2, "repeated": True}
    assert json.loads((await request(caller, f"{call}.value")).data)["result"] == 2
    assert first.headers is None


async def test_given_many_requests_at_once_then_none_waits_for_another(
    running: System, caller: Caller, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    body = json.dumps({"item": "a", "quantity": 1, "path": str(path)}).encode()
    slow = asyncio.ensure_future(request(caller, "call.default.cart.slow.put_slowly", body))
    await until(lambda: running.sql("SELECT state FROM pending WHERE key = 'slow'") == [("running",)])
    replies = await asyncio.gather(
        *(request(caller, f"call.default.counter.many{n % 20}.add", b'{"amount":1}') for n in range(300))
    )
    assert not slow.done()
    path.touch()
    assert all("error" not in json.loads(reply.data) for reply in replies)
    assert json.loads((await slow).data)["result"] == 1


async def test_given_messagepack_then_the_reply_is_too(caller: Caller) -> None:
    headers = {"Content-Type": "application/msgpack"}
    body = msgspec.msgpack.encode({"amount": 4})
    reply = await request(caller, "call.default.counter.packed.add", body, headers)
    assert msgspec.msgpack.decode(reply.data)["result"] == 4
    refused = await request(caller, "call.default.nobody.packed.add", body, headers)
    assert msgspec.msgpack.decode(refused.data)["error"]["code"] == "unknown_kind"


@pytest.mark.parametrize(
    ("subject", "body", "code", "path"),
    [
        ("call.default.nobody.a.add", b"", "unknown_kind", None),
        ("call.default.counter.a.nope", b"", "unknown_method", None),
        ("call.default.counter.a.add", b"{}", "invalid_arguments", "$"),
        ("call.default.counter.a.add", b'{"amount":"x"}', "invalid_arguments", "$.amount"),
        ("call.default.counter.a.slow_value", b'{"seconds":"x"}', "invalid_arguments", "$.seconds"),
        ("call.default.counter.a.take", b'{"amount":1}', "rejected", None),
        ("call.default.counter.a.boom", b"", "handler_failed", None),
        ("call.default.counter.%61.add", b'{"amount":1}', "bad_address", None),
        ("call.default.counter.%61.value", b"", "bad_address", None),
        ("call.a$b.counter.a.add", b'{"amount":1}', "bad_address", None),
        ("call.default.a$b.a.add", b'{"amount":1}', "bad_address", None),
        ("call.default.counter.a.a$b", b"", "bad_address", None),
    ],
)
async def test_given_a_call_that_cannot_be_done_then_the_answer_says_why(
    caller: Caller, subject: str, body: bytes, code: str, path: str | None
) -> None:
    error = failure(await request(caller, subject, body))
    assert (error["code"], error.get("path")) == (code, path)


async def test_given_a_kind_that_was_never_served_then_a_call_to_it_is_not_stored(caller: Caller) -> None:
    before = (await caller.jetstream.stream_info("CMD")).state.last_seq
    failure(await request(caller, "call.default.nobody.a.add"))
    assert (await caller.jetstream.stream_info("CMD")).state.last_seq == before


async def test_given_an_expired_deadline_then_the_call_says_so(caller: Caller) -> None:
    headers = {"Troupe-Deadline": "1000"}
    assert failure(await request(caller, "call.default.counter.a.add", b'{"amount":1}', headers))["code"] == "expired"


async def test_given_a_header_that_breaks_lines_then_the_call_is_refused(caller: Caller, running: System) -> None:
    inbox = caller.connection.new_inbox()
    replies = await caller.connection.subscribe(inbox)
    await caller.connection.flush()
    wire = Wire(running.nats_url)
    wire.publish(b"call.default.counter.a.add", b"\r\nTroupe-Correlation: a\nb", b'{"amount":1}', inbox.encode())
    assert failure(await replies.next_msg(timeout=PATIENCE_S))["code"] == "bad_request"
    wire.close()


async def test_given_natss_own_discovery_then_the_service_and_its_errors_are_there(caller: Caller) -> None:
    await request(caller, "call.default.nobody.a.add")
    info = json.loads((await request(caller, "$SRV.INFO.troupe")).data)
    assert info["type"] == "io.nats.micro.v1.info_response"
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == ["call.*.*.*.*"]
    stats = json.loads((await request(caller, "$SRV.STATS.troupe")).data)
    assert stats["endpoints"][0]["num_requests"] > 0
    assert json.loads((await request(caller, "$SRV.PING")).data)["name"] == "troupe"


async def test_given_a_full_stream_then_calls_say_so_at_once_and_go_on_when_there_is_room(system: System) -> None:
    caller = await Caller.connect(system.nats_url)
    async with system.pod():
        keep_untrimmed(system)
        await fill(caller.jetstream)
        full = failure(await request(caller, "call.default.counter.a.add", b'{"amount":1}'))
        assert full["code"] == "stream_full"
        assert "again" in full["message"]
        await caller.jetstream.purge_stream("CMD")
        reply = await request(caller, "call.default.counter.a.add", b'{"amount":1}')
        assert json.loads(reply.data)["result"] == 1
    await caller.close()
