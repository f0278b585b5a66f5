"""Input that cannot be done: a clear error each, nothing lost, and everybody else goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import nats.errors
import pytest

from runtime.client.objects import MAX_OBJECT_BYTES
from runtime.errors import CallFailed
from schemas.wire import Intent
from tests.protocol.raw import Caller, token
from tests.protocol.sessions import fill, keep_untrimmed
from tests.support.patience import PATIENCE_S, out_of_time
from tests.support.system import System, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def caller(running: System) -> AsyncIterator[Caller]:
    caller = await Caller.connect(running.nats_url)
    yield caller
    await caller.close()


async def works(caller: Caller) -> None:
    """The pod does what it should."""
    reply = await caller.ask("counter", "healthy", "add", {"amount": 1})
    assert "error" not in reply


# -- kinds and methods ------------------------------------------------------------------------------------------------


async def test_given_a_kind_that_nobody_serves_then_the_client_names_it_and_the_command_stays_in_the_stream(
    running: System, caller: Caller
) -> None:
    async with running.client() as client:
        with pytest.raises(CallFailed, match="no pod serves the kind 'nobody'") as failed:
            await client.ask("nobody", "a", "add", {"amount": 1}, timeout_s=PATIENCE_S)
        assert failed.value.code == "unknown_kind"
        id = await client.tell("nobody", "told", "add", {"amount": 1})
    await works(caller)
    stored = await caller.jetstream.get_last_msg("CMD", "p.*.default.nobody.told.add")
    assert stored.headers is not None
    assert stored.headers["Troupe-Id"] == id


async def test_given_an_unknown_method_then_the_error_names_the_known_ones(caller: Caller) -> None:
    error = (await caller.ask("counter", "a", "ad", {"amount": 1}))["error"]
    assert error["code"] == "unknown_method"
    assert "it has add, add_later" in error["message"]


# -- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        (b"", "$", "missing required field `amount`"),
        (b"null", "$", "missing required field `amount`"),
        (b"{}", "$", "missing required field `amount`"),
        (b'{"amount":"1"}', "$.amount", "Expected `int`, got `str`"),
        (b'{"amount":1.5}', "$.amount", "Expected `int`, got `float`"),
        (b'{"amount":null}', "$.amount", "Expected `int`, got `null`"),
        (b"[1]", None, "Expected `object`, got `array`"),
        (b'{"amount":', None, "not readable as application/json"),
        (b'{"amount":1}}', None, "not readable as application/json"),
        (b"\xff\xfe\x00", None, "not readable as application/json"),
        (b'{"amount":\xc3\x28}', None, "not readable as application/json"),
        (b"[" * 100_000, None, "Expected `object`, got `array`"),
        (b'{"else":' + b"[" * 100_000, None, "maximum recursion depth"),
    ],
)
async def test_given_arguments_that_do_not_fit_then_the_error_says_where(
    caller: Caller, body: bytes, path: str | None, message: str
) -> None:
    error = json.loads(await caller.send("cmd.default.counter.args.add", body))["error"]
    assert error["code"] == "invalid_arguments"
    assert message in error["message"]
    if path is not None:
        assert error["path"] == path
    await works(caller)


@pytest.mark.parametrize("body", [b"\xc1", b"\x81", b"\x81\xa6amount\xa1x", b"\x91" * 100_000])
async def test_given_bad_messagepack_then_the_reply_is_messagepack_and_says_so(caller: Caller, body: bytes) -> None:
    headers = {"Content-Type": "application/msgpack"}
    reply = msgspec.msgpack.decode(await caller.send("cmd.default.counter.args.add", body, headers))
    assert reply["error"]["code"] == "invalid_arguments"


async def test_given_a_content_type_that_is_not_known_then_the_error_names_the_known_ones(caller: Caller) -> None:
    headers = {"Content-Type": "text/html"}
    error = json.loads(await caller.send("cmd.default.counter.args.add", b'{"amount":1}', headers))["error"]
    assert error["code"] == "invalid_arguments"
    assert "send application/json or application/msgpack" in error["message"]


async def test_given_a_nul_in_a_string_then_it_is_kept_and_a_lone_surrogate_is_refused(caller: Caller) -> None:
    nul = await caller.send("cmd.default.cart.text.put", rb'{"item":"a\u0000b"}')
    assert json.loads(nul)["result"] == 1
    lone = json.loads(await caller.send("cmd.default.cart.text.put", rb'{"item":"\ud800"}'))["error"]
    assert lone["code"] == "invalid_arguments"
    items = json.loads((await caller.connection.request("call.default.cart.text.items", timeout=PATIENCE_S)).data)
    assert items["result"] == {"a\0b": 1}


async def test_given_a_nul_in_an_error_then_the_dead_letter_is_kept(running: System, caller: Caller) -> None:
    reply = await caller.ask("counter", "nul", "boom", None, {"Troupe-Id": "nul", "X-Note": "a\0b"})
    assert reply["error"]["code"] == "handler_failed"
    assert running.sql("SELECT code FROM dead_letters WHERE command_id = 'nul'") == [("handler_failed",)]


async def test_given_a_body_above_the_brokers_limit_then_a_raw_client_is_told_and_the_client_takes_the_object_store(
    running: System, caller: Caller
) -> None:
    limit = caller.connection.max_payload
    with pytest.raises(nats.errors.MaxPayloadError):
        await caller.send("cmd.default.length.a.run", b'{"text":"%b"}' % (b"x" * limit))
    async with running.client() as client:
        assert await client.ask("length", "a", "run", {"text": "y" * limit}) == limit
        with pytest.raises(CallFailed, match="keep it elsewhere") as failed:
            await client.ask("length", "a", "run", {"text": "z" * MAX_OBJECT_BYTES})
        assert failed.value.code == "too_large"
    await works(caller)


async def test_given_an_intent_above_the_brokers_limit_then_the_client_refuses_it(running: System) -> None:
    async with running.client() as client:
        said = Intent("length", "a", "run", {"text": "x" * client.connection.max_payload})
        with pytest.raises(CallFailed, match="send a command") as failed:
            await client.intent("big", said)
        assert failed.value.code == "too_large"


async def test_given_a_result_above_the_brokers_limit_then_the_caller_is_told(caller: Caller) -> None:
    args = {"text": "x" * 1024, "times": caller.connection.max_payload // 1024 + 1}
    for headers in ({}, {"Troupe-Reply-Mode": "batch"}):
        reply = json.loads(
            await caller.send("cmd.default.repeat.a.run", json.dumps(args).encode(), {"Troupe-Id": "big"} | headers)
        )
        [reply] = reply if isinstance(reply, list) else [reply]
        assert (reply["id"], reply["error"]["code"]) == ("big", "too_large")
    await works(caller)


async def test_given_an_object_that_is_not_there_then_the_command_is_parked_and_names_it(
    running: System, caller: Caller
) -> None:
    headers = {"Troupe-Object": "default/gone", "Troupe-Id": "gone"}
    error = json.loads(await caller.send("cmd.default.counter.claim.add", b"digest", headers))["error"]
    assert error["code"] == "not_found"
    assert "'default/gone'" in error["message"]
    assert running.sql("SELECT code FROM dead_letters WHERE command_id = 'gone'") == [("not_found",)]
    await works(caller)


# -- keys, ids, deadlines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a.b", "*", ">", "a b", "\U0001f389" * 16, "ключ", "%2E", "~-_", "a/b?c=d&e#f", "'"])
async def test_given_any_key_then_it_is_one_actor_whoever_asks(running: System, caller: Caller, key: str) -> None:
    assert (await caller.ask("counter", key, "add", {"amount": 1}))["result"] == 1
    async with running.client() as client:
        assert await client.ask("counter", key, "add", {"amount": 1}) == 2
        assert await client.query("counter", key, "value") == 2
    assert running.sql("SELECT count(*) FROM actors WHERE kind = 'counter' AND key = %s", key) == [(1,)]


@pytest.mark.parametrize(
    ("key", "message"), [("", "empty"), ("é" * 512, "limit"), ("a\0b", "NUL"), ("\ud800", "UTF-8")]
)
async def test_given_a_key_that_can_be_none_then_the_client_refuses_before_it_is_sent(
    running: System, key: str, message: str
) -> None:
    async with running.client() as client:
        for asked in (
            client.ask("counter", key, "add", {"amount": 1}),
            client.tell("counter", key, "add", {"amount": 1}),
            client.query("counter", key, "value"),
        ):
            with pytest.raises(CallFailed, match=message) as failed:
                await asked
            assert failed.value.code == "bad_address"


async def test_given_a_kilobyte_of_unicode_as_a_raw_token_then_its_sender_is_told(caller: Caller) -> None:
    reply = json.loads(await caller.send(f"cmd.default.counter.{token('é' * 512)}.add", b'{"amount":1}'))
    assert reply["error"]["code"] == "bad_address"
    assert "200 is the limit" in reply["error"]["message"]
    await works(caller)


async def test_given_an_expired_deadline_then_nothing_is_done_and_a_later_one_is(caller: Caller) -> None:
    past = await caller.ask("counter", "late", "add", {"amount": 1}, {"Troupe-Deadline": "1000"})
    assert past["error"]["code"] == "expired"
    coming = await caller.ask("counter", "late", "add", {"amount": 1}, {"Troupe-Deadline": "99999999999999"})
    assert coming["result"] == 1


async def test_given_an_id_again_then_its_answer_comes_again_and_with_other_arguments_it_is_refused(
    caller: Caller,
) -> None:
    same = {"Troupe-Id": "same"}
    first = await caller.ask("counter", "ids", "add", {"amount": 1}, same)
    again = await caller.ask("counter", "ids", "add", {"amount": 1}, same)
    assert again == first | {"repeated": True}
    for other in (("add", {"amount": 2}), ("take", {"amount": 1})):
        reused = await caller.ask("counter", "ids", *other, same)
        assert reused["error"]["code"] == "id_reused"
    assert (await caller.ask("counter", "ids", "add", {"amount": 0}))["result"] == 1


@pytest.mark.parametrize("id", ["a b", "a\0b", "é", "x" * 201])
async def test_given_an_id_that_can_be_none_then_the_command_is_refused(caller: Caller, id: str) -> None:
    reply = await caller.ask("counter", "badid", "add", {"amount": 1}, {"Troupe-Id": id})
    assert reply["error"]["code"] == "bad_request"
    assert "Troupe-Id" in reply["error"]["message"]
    await works(caller)


async def test_given_an_id_that_can_be_none_then_the_client_refuses_before_it_is_sent(running: System) -> None:
    async with running.client() as client:
        for id in ("a b", "a\0b", "\ud800", "", "x" * 201):
            with pytest.raises(CallFailed) as failed:
                await client.ask("counter", "badid", "add", {"amount": 1}, id=id)
            assert failed.value.code == "bad_request"


# -- poison, and no room ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", ["boom", "wrong"])
async def test_given_one_poison_command_among_hundreds_then_the_others_commit_and_it_is_among_the_dead_letters(
    running: System, caller: Caller, poison: str
) -> None:
    inbox = caller.connection.new_inbox()
    replies = await caller.connection.subscribe(inbox)
    for number in range(400):
        method = poison if number == 200 else "add"
        key = f"{poison}{number % 7}"
        headers = {"Troupe-Reply": inbox, "Troupe-Id": f"{poison}-{number}"}
        body = b"" if method == poison else b'{"amount":1}'
        await caller.connection.publish(caller.subject("counter", key, method), body, headers=headers)
    answers = [json.loads((await replies.next_msg(timeout=PATIENCE_S)).data) for _ in range(400)]
    failed = [answer for answer in answers if "error" in answer]
    assert [answer["id"] for answer in failed] == [f"{poison}-200"]
    values = [(await caller.ask("counter", f"{poison}{n}", "add", {"amount": 0}))["result"] for n in range(7)]
    assert sum(values) == 399
    rows = running.sql("SELECT command_id, status FROM dead_letters WHERE method = %s AND code <> 'x'", poison)
    assert (f"{poison}-200", "parked") in rows


async def test_given_a_full_stream_then_everybody_is_told_and_goes_on_after_a_purge(system: System) -> None:
    caller = await Caller.connect(system.nats_url)
    async with system.pod(), system.client() as client:
        assert await client.ask("counter", "full", "add", {"amount": 1}) == 1
        keep_untrimmed(system)
        await fill(caller.jetstream)
        for send in (client.tell, client.ask):
            job = partial(send, "counter", "full", "add", {"amount": 1})
            failed = await out_of_time(lambda timeout_s: job(timeout_s=timeout_s), "maximum bytes", 2.0)  # noqa: B023
            assert failed.code == "stream_full"
        waiting = asyncio.ensure_future(client.ask("counter", "full", "add", {"amount": 10}, timeout_s=120))
        await asyncio.sleep(0.2)
        await caller.jetstream.purge_stream("CMD")
        assert await waiting == 11
        assert await client.query("counter", "full", "value") == 11
    await caller.close()


async def test_given_a_kind_that_is_served_later_then_what_waited_in_the_stream_is_done(system: System) -> None:
    from tests.support.kinds import cart, counter

    caller = await Caller.connect(system.nats_url)
    async with system.pod(counter):
        await caller.jetstream.publish("cmd.default.cart.later.put", b'{"item":"waited"}')
        await works(caller)
    async with system.pod(counter, cart), system.client() as client:

        async def done() -> Any:
            return await client.query("cart", "later", "items") == {"waited": 1}

        await until(done)
    await caller.close()
