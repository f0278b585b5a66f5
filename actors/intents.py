"""From an intent to the command it stands for. Pure: no broker, no clock.

    intent.<tenant>.<session>   {"kind", "key", "method", "args", "id"?, "deadline_ms"?}
    cmd.<tenant>.<kind>.<key>.<method>   args, with Troupe-Session, Troupe-Id, Troupe-Deadline

    intent.<tenant>.<session>   where is my parcel?      or {"text", "agent"?, "when_busy"?, "id"?, "deadline_ms"?}
    cmd.<tenant>.session.<session>.say

The command's body is the exact bytes of `args`, so that whoever signs an intent can sign the command it becomes.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from runtime.client.connection import header_block
from schemas import codec, subjects
from schemas import headers as names
from schemas.address import Address, BadAddress, decode_token
from schemas.conversation import KIND, ROUTER, SAY, Say, WhenBusy, wrong_with
from schemas.wire import Fact, Failure, Intent

_PASSED = (names.CORRELATION, names.CAUSATION, names.REPLY, names.REPLY_MODE)
_NULL = (b"", b"null", b"\xc0")


class Said(NamedTuple):
    """A message of stream INTENT: its subject `…<tenant>.<session token>`, and where it is stored since when (ns)."""

    subject: str
    headers: Mapping[str, str]
    body: bytes
    sequence: int
    stored_at: int

    @property
    def own_id(self) -> str:
        """An id that follows from the place in the stream, so that a redelivery has the same one."""
        return f"intent-{self.sequence}-{self.stored_at}"


class Derived(NamedTuple):
    """A message to publish."""

    subject: str
    id: str
    header_block: bytes
    body: bytes

    def __len__(self) -> int:
        return len(self.header_block) + len(self.body)


class Malformed(Exception):
    """The intent cannot become a command. `intent` is what could be read of it."""

    def __init__(self, failure: Failure, intent: Intent | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.intent = intent


class _Intent(Intent):
    args: msgspec.Raw = msgspec.Raw(b"")


class _Sentence(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    agent: str = ROUTER
    when_busy: WhenBusy = "queue"
    id: str | None = None
    deadline_ms: int | None = None


class _Peek(msgspec.Struct):
    text: msgspec.Raw | UnsetType = UNSET
    kind: msgspec.Raw | UnsetType = UNSET


_from_json = msgspec.json.Decoder(_Intent).decode
_from_msgpack = msgspec.msgpack.Decoder(_Intent).decode


def command_of(said: Said) -> Derived:
    """The command that an intent stands for. Raises Malformed."""
    content_type = said.headers.get(names.CONTENT_TYPE)
    sentence = _sentence(said, content_type)
    intent = _decode(said, content_type) if sentence is None else _saying(sentence)
    tenant, token = said.subject.split(".")[-2:]
    try:
        session = decode_token(token)
    except BadAddress as error:
        raise Malformed(Failure("bad_address", str(error).replace("the key", "the session")), intent) from error
    if sentence is not None:
        intent.key = session
    try:
        subject = subjects.command(Address(tenant, intent.kind, intent.key), intent.method)
    except BadAddress as error:
        raise Malformed(Failure("bad_address", str(error)), intent) from error
    id = intent.id if intent.id is not None else said.headers.get(names.ID, said.own_id)
    if not names.is_id(id):
        text = f"the intent's id {id[:80]!r} is not 1 to {names.MAX_ID_LENGTH} printable ASCII characters"
        raise Malformed(Failure("bad_request", text), intent)
    if session != session.strip():
        text = f"the session {session!r} begins or ends with a space, which a header cannot carry: name it otherwise"
        raise Malformed(Failure("bad_address", text), intent)
    lines = _lines(said.headers, intent)
    if sentence is not None:
        lines.pop(names.CONTENT_TYPE, None)
    try:
        block = header_block({names.ID: id, names.SESSION: session} | lines)
    except ValueError as error:
        raise Malformed(Failure("bad_request", f"session or header cannot be sent on: {error}"), intent) from error
    body = bytes(intent.args)
    return Derived(subject, id, block, b"" if body in _NULL else body)


def refusal_of(said: Said, malformed: Malformed, now: float) -> Derived:
    """The error that the session's watchers see instead. Its id lets the broker drop a second one."""
    tenant, token = said.subject.split(".")[-2:]
    intent = malformed.intent or Intent("", "", "")
    at = datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(timespec="milliseconds")
    failure = msgspec.Raw(msgspec.json.encode(malformed.failure))
    command = intent.id if intent.id is not None and names.is_id(intent.id) else said.own_id
    fact = Fact("error", intent.method, command, tenant, intent.kind, intent.key, at=at, data=failure)
    id = f"{said.own_id}-refused"
    return Derived(f"ev.{tenant}.{token}", id, header_block({"Nats-Msg-Id": id}), msgspec.json.encode(fact))


def agent_of(said: Said) -> str | None:
    """The agent that a sentence names; None when it names none, or is no sentence that can be read."""
    try:
        sentence = _sentence(said, said.headers.get(names.CONTENT_TYPE))
    except Malformed:
        return None
    return None if sentence is None or sentence.agent == ROUTER else sentence.agent


def _sentence(said: Said, content_type: str | None) -> _Sentence | None:
    """The sentence that an intent is; None when it calls a method. Raises Malformed."""
    plain = (content_type or "").partition(";")[0].strip().lower() == "text/plain"
    if plain or (content_type is None and said.body.strip() and said.body.lstrip()[:1] not in b"{["):
        try:
            return _checked(_Sentence(said.body.decode().strip()))
        except UnicodeDecodeError as error:
            text = f"the sentence is not valid UTF-8: {error}"
            raise Malformed(Failure("bad_request", text)) from error
    if b"text" not in said.body:
        return None
    try:
        decode = msgspec.msgpack.decode if codec.is_msgpack(content_type) else msgspec.json.decode
        peeked = decode(said.body, type=_Peek)
    except (codec.BadBody, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # what is wrong with it is said of the intent
    if peeked.kind is not UNSET or peeked.text is UNSET:
        return None
    try:
        return _checked(decode(said.body, type=_Sentence))
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        raise Malformed(Failure("bad_request", f"the intent: {text}", path.rstrip("`") or None)) from error


def _checked(sentence: _Sentence) -> _Sentence:
    if (wrong := wrong_with(sentence.text)) is not None:
        code = "too_large" if sentence.text.strip() else "bad_request"
        raise Malformed(Failure(code, wrong, "$.text"), _saying(sentence))
    return sentence


def _saying(sentence: _Sentence) -> _Intent:
    args = msgspec.Raw(msgspec.json.encode(Say(sentence.text, sentence.agent, sentence.when_busy)))
    return _Intent(KIND, "", SAY, args, sentence.id, sentence.deadline_ms)


def _decode(said: Said, content_type: str | None) -> _Intent:
    try:
        return (_from_msgpack if codec.is_msgpack(content_type) else _from_json)(said.body)
    except codec.BadBody as error:
        raise Malformed(Failure("bad_request", str(error))) from error
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `")
        raise Malformed(Failure("bad_request", f"the intent: {text}", path.rstrip("`") or None)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"the intent is not valid {content_type or codec.JSON}: {error}"
        raise Malformed(Failure("bad_request", text)) from error


def _lines(headers: Mapping[str, str], intent: Intent) -> dict[str, str]:
    lines = names.travelling(headers)
    lines |= {name: headers[name] for name in _PASSED if name in headers}
    if names.CONTENT_TYPE in headers:
        lines[names.CONTENT_TYPE] = headers[names.CONTENT_TYPE]
    if intent.deadline_ms is not None:
        lines[names.DEADLINE] = str(intent.deadline_ms)
    elif names.DEADLINE in headers:
        lines[names.DEADLINE] = headers[names.DEADLINE]
    if names.PRINCIPAL in headers and names.SIGNATURE in headers:  # without its proof a principal is only a claim
        lines[names.PRINCIPAL] = headers[names.PRINCIPAL]
        lines[names.SIGNATURE] = headers[names.SIGNATURE]
        if names.ROLES in headers:
            lines[names.ROLES] = headers[names.ROLES]
    return lines
