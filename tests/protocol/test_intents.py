"""From an intent to its command, without a broker."""

from __future__ import annotations

import msgspec
import pytest

from actors.intents import Malformed, Said, agent_of, command_of, refusal_of
from runtime.client.connection import parse_headers
from schemas import headers as h
from schemas.wire import Fact, Failure, Intent


def said(body: bytes, headers: dict[str, str] | None = None, subject: str = "i.3.acme.room%201") -> Said:
    return Said(subject, headers or {}, body, 17, 1_700_000_000_000_000_001)


def test_given_an_intent_then_its_command_has_its_address_session_id_and_the_very_bytes_of_its_arguments() -> None:
    derived = command_of(said(b'{"kind":"counter","key":"a.b","method":"add","args": {"amount": 1.0 },"id":"x-1"}'))
    assert derived.subject == "cmd.acme.counter.a%2Eb.add"
    assert derived.body == b'{"amount": 1.0 }'
    assert parse_headers(derived.header_block) == {h.ID: "x-1", h.SESSION: "room 1"}


def test_given_no_id_then_a_redelivery_has_the_same_one_and_another_intent_has_another() -> None:
    body = b'{"kind":"counter","key":"a","method":"add"}'
    first, again = command_of(said(body)), command_of(said(body))
    assert first.id == again.id
    assert first.id != command_of(said(body)._replace(sequence=18)).id
    assert first.body == b""


def test_given_the_id_in_a_header_then_it_is_the_commands_unless_the_body_has_one() -> None:
    bare = said(b'{"kind":"counter","key":"a","method":"add"}', {h.ID: "from-header"})
    assert command_of(bare).id == "from-header"
    both = bare._replace(body=b'{"kind":"counter","key":"a","method":"add","id":"from-body"}')
    assert command_of(both).id == "from-body"


def test_given_headers_then_trace_correlation_reply_and_deadline_go_with_the_command_and_strange_ones_do_not() -> None:
    headers = {
        h.TRACEPARENT: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        h.CORRELATION: "c1",
        h.REPLY: "_INBOX.acme.me",
        h.DEADLINE: "1",
        "reply_to": "cmd.acme.counter.a.add",
        "X-Other": "1",
    }
    body = b'{"kind":"counter","key":"a","method":"add","deadline_ms":99}'
    lines = parse_headers(command_of(said(body, headers)).header_block)
    assert {name: lines[name] for name in (h.TRACEPARENT, h.CORRELATION, h.REPLY, h.DEADLINE)} == {
        h.TRACEPARENT: headers[h.TRACEPARENT],
        h.CORRELATION: "c1",
        h.REPLY: "_INBOX.acme.me",
        h.DEADLINE: "99",
    }
    assert "reply_to" not in lines
    assert "X-Other" not in lines


def test_given_a_principal_then_it_goes_with_the_command_only_beside_a_signature() -> None:
    body = b'{"kind":"counter","key":"a","method":"add"}'
    claimed = parse_headers(command_of(said(body, {h.PRINCIPAL: "root"})).header_block)
    assert h.PRINCIPAL not in claimed
    signed = parse_headers(command_of(said(body, {h.PRINCIPAL: "ann", h.SIGNATURE: "v1.9.x"})).header_block)
    assert (signed[h.PRINCIPAL], signed[h.SIGNATURE]) == ("ann", "v1.9.x")


def test_given_an_intent_in_messagepack_then_its_command_is_too() -> None:
    body = msgspec.msgpack.encode(Intent("counter", "a", "add", {"amount": 2}))
    derived = command_of(said(body, {h.CONTENT_TYPE: "application/msgpack"}))
    assert msgspec.msgpack.decode(derived.body) == {"amount": 2}
    assert parse_headers(derived.header_block)[h.CONTENT_TYPE] == "application/msgpack"


@pytest.mark.parametrize(
    ("body", "headers", "subject", "code", "message"),
    [
        (b"", {}, "i.3.acme.s", "bad_request", "not valid"),
        (b"{", {}, "i.3.acme.s", "bad_request", "not valid"),
        (b"\xff\xfe", {}, "i.3.acme.s", "bad_request", "not valid"),
        (b"[]", {}, "i.3.acme.s", "bad_request", "Expected `object`"),
        (b'{"kind":"counter","key":"a"}', {}, "i.3.acme.s", "bad_request", "missing required field `method`"),
        (b'{"kind":"counter","key":1,"method":"add"}', {}, "i.3.acme.s", "bad_request", "Expected `str`"),
        (b'{"kind":"a b","key":"a","method":"add"}', {}, "i.3.acme.s", "bad_address", "kind 'a b' is not a name"),
        (b'{"kind":"counter","key":"","method":"add"}', {}, "i.3.acme.s", "bad_address", "key is empty"),
        (b'{"kind":"counter","key":"\\ud800","method":"add"}', {}, "i.3.acme.s", "bad_request", "not valid"),
        (b'{"kind":"counter","key":"a","method":"add","id":"a b"}', {}, "i.3.acme.s", "bad_request", "id 'a b'"),
        (b'{"kind":"counter","key":"a","method":"add"}', {}, "i.3.acme.%61", "bad_address", "session's token"),
        (b'{"kind":"counter","key":"a","method":"add"}', {}, "i.3.acme.%20a", "bad_address", "begins or ends"),
        (b'{"kind":"counter","key":"a","method":"add"}', {}, "i.3.acme.a%0Ab", "bad_request", "line break"),
        (b"{}", {h.CONTENT_TYPE: "text/html"}, "i.3.acme.s", "bad_request", "text/html"),
        (b"\xc1", {h.CONTENT_TYPE: "application/msgpack"}, "i.3.acme.s", "bad_request", "not valid"),
    ],
)
def test_given_a_malformed_intent_then_its_session_is_told_what_is_wrong_with_it(
    body: bytes, headers: dict[str, str], subject: str, code: str, message: str
) -> None:
    intent = said(body, headers, subject)
    with pytest.raises(Malformed, match=message) as raised:
        command_of(intent)
    refusal = refusal_of(intent, raised.value, 1_700_000_000.0)
    assert refusal.subject == subject.replace("i.3.", "ev.")
    fact = msgspec.json.decode(refusal.body, type=Fact)
    assert (fact.type, fact.tenant, fact.at) == ("error", "acme", "2023-11-14T22:13:20.000+00:00")
    assert msgspec.json.decode(fact.data, type=Failure).code == code
    assert parse_headers(refusal.header_block)["Nats-Msg-Id"] == refusal.id


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b" where is my parcel?\n", {}),
        (b"where is my parcel?", {h.CONTENT_TYPE: "text/plain; charset=utf-8"}),
        (b'{"text": "where is my parcel?"}', {}),
        (msgspec.msgpack.encode({"text": "where is my parcel?"}), {h.CONTENT_TYPE: "application/msgpack"}),
    ],
)
def test_given_a_sentence_then_it_is_said_to_its_session(body: bytes, headers: dict[str, str]) -> None:
    derived = command_of(said(body, headers))
    assert derived.subject == "cmd.acme.session.room%201.say"
    assert msgspec.json.decode(derived.body) == {"text": "where is my parcel?"}
    assert parse_headers(derived.header_block) == {h.ID: said(body).own_id, h.SESSION: "room 1"}


def test_given_a_sentence_that_names_an_agent_then_it_is_for_that_one() -> None:
    body = b'{"text": "Hi", "agent": "billing", "when_busy": "interrupt", "id": "m1", "deadline_ms": 9}'
    derived = command_of(said(body))
    assert (agent_of(said(body)), agent_of(said(b"Hi")), agent_of(said(b"{}"))) == ("billing", None, None)
    assert msgspec.json.decode(derived.body) == {"text": "Hi", "agent": "billing", "when_busy": "interrupt"}
    assert parse_headers(derived.header_block) == {h.ID: "m1", h.SESSION: "room 1", h.DEADLINE: "9"}


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"text": "  "}', "bad_request", "the text is empty"),
        (b'{"text": 7}', "bad_request", "Expected `str`, got `int`"),
        (b'{"text": "a", "agnt": "b"}', "bad_request", "unknown field `agnt`"),
        (b"a" * 1_000_000, "too_large", "at most 262144 bytes"),
        (b"caf\xe9", "bad_request", "not valid UTF-8"),
    ],
)
def test_given_a_bad_sentence_then_its_session_is_told_what_is_wrong_with_it(
    body: bytes, code: str, message: str
) -> None:
    with pytest.raises(Malformed, match=message) as raised:
        command_of(said(body))
    assert raised.value.failure.code == code
