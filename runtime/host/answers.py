"""Replies on the wire, and the facts of a session's stream."""

from __future__ import annotations

import datetime
from typing import NamedTuple, Protocol

import msgspec

from runtime.arguments import nests_too_deep
from runtime.host.command import Command
from runtime.host.ports import OutboxRow
from runtime.kind import made_of
from runtime.sent import MAX_SENT_BYTES
from schemas import codec, headers, subjects
from schemas.control import Answered, Ended
from schemas.wire import Fact, Failure, Reply

_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
NULL = b"null"


class Send(Protocol):
    """Publishes an encoded reply to the command `id`, however large; see runtime.host.large."""

    def __call__(self, subject: str, reply: bytes, id: str, *, packed: bool) -> None: ...


MESSAGE_MARGIN_BYTES = 1024
"""What is left of a message for its subject and headers."""


class Refused(Exception):
    """The read is answered with this failure."""

    def __init__(self, code: str, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.failure = Failure(code, message, path)


class Answer(NamedTuple):
    """One reply, encoded. Batched ones to the same subject may share a message."""

    subject: str
    batched: bool
    packed: bool
    body: bytes
    id: str


def answer(
    command: Command, seq: int, result: bytes = NULL, failure: Failure | None = None, *, repeated: bool = False
) -> Answer | None:
    """The reply to a command, or None when nobody waits for one."""
    given = command.headers
    subject = given.get(headers.REPLY)
    if subject is None:
        return None
    batched = given.get(headers.REPLY_MODE) == headers.BATCH_REPLIES
    packed = headers.CONTENT_TYPE in given and wants_msgpack(command.content_type)
    body = encode_reply(command.id, seq, result, failure, repeated, packed)
    return made_of(Answer, (subject, batched, packed, body, command.id))


def answered(run: str, command: Command, result: bytes, failure: Failure | None) -> bytes:
    """The body of the command that brings an answer to the execution that asked."""
    body = Answered(run, command.id, command.digest, msgspec.Raw(result), failure)
    encoded = _encode(body)
    if len(encoded) > MAX_SENT_BYTES:
        text = f"the result has {len(result)} bytes, more than an actor may be sent; it is kept in the log"
        encoded = _encode(Answered(run, command.id, command.digest, error=Failure("too_large", text)))
    return encoded


def ended(command: Command, result: bytes, failure: Failure | None) -> bytes:
    """The body of the command that tells who sent `command` what became of it."""
    _, kind, key = command.address
    encoded = _encode(Ended(command.id, kind, key, command.method, msgspec.Raw(result), failure))
    if len(encoded) <= MAX_SENT_BYTES and not nests_too_deep(encoded):
        return encoded
    text = f"the result has {len(result)} bytes or nests deeper than an actor may be sent; it is kept in the log"
    return _encode(Ended(command.id, kind, key, command.method, error=Failure("too_large", text)))


def wants_msgpack(content_type: str | None) -> bool:
    """Whether the caller reads MessagePack; a content type that is not known gets JSON."""
    try:
        return content_type is not None and codec.is_msgpack(content_type)
    except codec.BadBody:
        return False


def encode_reply(
    id: str, seq: int, result: bytes, failure: Failure | None, repeated: bool = False, packed: bool = False
) -> bytes:
    """A Reply in wire form. `result` is JSON."""
    if not packed:
        return _encode(Reply(id, seq, msgspec.Raw(result), failure, repeated))
    try:
        return _pack(Reply(id, seq, msgspec.Raw(_pack(msgspec.json.decode(result))), failure, repeated))
    except (OverflowError, RecursionError) as error:
        text = f"the result has no MessagePack form ({error}); it is kept in the log: ask again with its id, in JSON"
        return _pack(Reply(id, seq, msgspec.Raw(_pack(None)), Failure("too_large", text), repeated))


def join(answers: list[bytes], packed: bool) -> bytes:
    """Several encoded replies as one list."""
    if not packed:
        return b"[" + b",".join(answers) + b"]"
    return b"\xdd" + len(answers).to_bytes(4, "big") + b"".join(answers)


def fact_row(command: Command, lane: int, ord: int, fact: Fact, message_id: str) -> OutboxRow:
    """The outbox row that carries a fact to the session's stream."""
    assert command.session is not None
    subject = subjects.events(command.address.tenant, command.session)
    block = _encode({"Nats-Msg-Id": message_id}).decode()
    return OutboxRow(lane, ord, message_id, subject, block, _encode(fact))


def fact(
    command: Command, type: str, name: str, seq: int, now: float, data: bytes, position: str | None = None,
    run: str | None = None,
) -> Fact:  # fmt: skip
    """A fact about a command, or about the execution `run` that it was said to. `data` is JSON."""
    tenant, kind, key = command.address
    at = datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(timespec="milliseconds")
    raw = msgspec.Raw(data)
    id = command.id if run is None else run
    return Fact(type, name, id, tenant, kind, key, seq, position, at, raw)  # type: ignore[arg-type]  # `type`


def id_reused(id: str) -> Failure:
    """What a command is told whose id another one has."""
    return Failure("id_reused", f"id {id!r} was used before, with another method or other arguments: use a new id")


def too_large(row: OutboxRow) -> OutboxRow:
    """The row of a fact that no message can hold, with a Failure for its data.

    An event stays an event, with its place in the log, so that readers do not miss one; any other becomes an error.
    """
    fact = msgspec.json.decode(row.body, type=Fact)
    text = f"the {fact.type} has {len(fact.data)} bytes, more than a message may have; it is kept in the log"
    fact.data = msgspec.Raw(failure_json(Failure("too_large", text)))
    if fact.type != "event":
        fact.type = "error"
    return row._replace(body=_encode(fact))


def failure_json(failure: Failure) -> bytes:
    """A Failure as JSON."""
    return _encode(failure)
