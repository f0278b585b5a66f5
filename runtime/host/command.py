"""A command as the host holds it, from whichever way it came: the stream, a timer, or the pending rows."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache, partial
from math import inf
from typing import TYPE_CHECKING

import msgspec

from runtime.client.connection import parse_headers
from runtime.host.ports import PendingRow, TimerRow
from runtime.policy import RetryPolicy
from schemas import chain, control, subjects
from schemas import headers as names
from schemas.address import MAX_TOKEN_BYTES, Address, BadAddress, actor_id, check_name, decode_token, encode_token
from schemas.digest import digest_of, signed
from schemas.runs import RUN_HEADERS
from schemas.wire import Failure

if TYPE_CHECKING:
    from runtime.host.broker import Feed
    from runtime.host.lane import Lane

_REPLY = re.compile(r"[!-)+-=?-~]{1,500}\Z")
"""Printable ASCII without spaces and wildcards: a reply subject goes into the protocol's lines as it is."""

_PRIORITY = re.compile(r"-?[0-9]{1,3}\Z")
_DEADLINE = re.compile(r"[0-9]{1,15}\Z")

_headers_decoder = msgspec.json.Decoder(dict[str, str])


class Command:
    """One command.

    Attributes:
        address: None when the subject holds no readable address (`problem` says why).
        actor: the actor's id in the log.
        digest: of method and body, signed 32 bits: tells a repeat from another command with the same id.
        stream_seq, stream_at: its place in CMD; 0 when it does not come from there.
        feed: what brought it from there.
        size: bytes of its message.
        absent: its body is still in the object store; `fetched` are the bytes it has there.
        problem: why it cannot be processed; `parks` when it must be kept for a person to see.
        roles: the principal's, once it is proved.
        sender: the actor that sent it, once that is proved.
        dropped: the values of headers that could not be used.
        doomed: why it is parked instead of tried (again).
        deadly: whether that is because it ends its process, so that it is never tried again.
    """

    __slots__ = (
        "absent",
        "actor",
        "address",
        "attempts",
        "body",
        "deadly",
        "digest",
        "doomed",
        "dropped",
        "feed",
        "fetched",
        "headers",
        "id",
        "key_token",
        "lane",
        "method",
        "parks",
        "problem",
        "roles",
        "sender",
        "size",
        "stream_at",
        "stream_seq",
        "timer",
    )

    def __init__(
        self,
        lane: Lane,
        address: Address,
        key_token: str,
        method: str,
        headers: dict[str, str],
        body: bytes,
        actor: str = "",
    ) -> None:
        self.lane = lane
        self.address = address
        self.key_token = key_token
        self.method = method
        self.headers = headers
        self.body = body
        self.actor = actor or actor_id(address.tenant, address.kind, key_token)
        self.digest = digest_of(method, body)
        self.id = headers.get(names.ID, "")
        self.stream_seq = 0
        self.stream_at = 0
        self.feed: Feed | None = None
        self.size = self.fetched = 0
        self.absent = False
        self.attempts = 0
        self.problem: Failure | None = None
        self.dropped = ""
        self.parks = False
        self.doomed = ""
        self.deadly = False
        self.timer: tuple[str, str] | None = None
        self.roles: tuple[str, ...] = ()
        self.sender: Address | None = None

    @property
    def reply_to(self) -> str | None:
        """The subject that wants the answer."""
        return self.headers.get(names.REPLY)

    @property
    def session(self) -> str | None:
        """The session whose stream shows what came of it."""
        return self.headers.get(names.SESSION)

    @property
    def content_type(self) -> str | None:
        """The body's content type; None is JSON."""
        return self.headers.get(names.CONTENT_TYPE)

    @property
    def start_at(self) -> float:
        """Unix seconds before which it has no turn; 0 for at once."""
        given = self.headers.get(names.START_AT)
        return 0.0 if given is None else int(given) / 1000

    def expires_at(self, policy: RetryPolicy) -> float:
        """Unix seconds after which no attempt is made; inf for never."""
        first = self.headers.get(names.FIRST_AT)
        if first is None or policy.max_elapsed_s is None:
            return inf
        return max(int(first) / 1000, self.start_at) + policy.max_elapsed_s

    @property
    def probe_key(self) -> int:
        """Tells this command from the lane's others when attempts are counted: its place in the stream, or a digest."""
        return self.stream_seq or -1 - zlib.crc32(self.id.encode())

    def fingerprint(self, code: str) -> int:
        """Of all that a refusal with this code was about: a command that differs in it is not refused for it."""
        told = [self.content_type or "", self.dropped]
        if code == "expired":
            told.append(self.headers.get(names.DEADLINE, ""))
        return signed(zlib.crc32("\n".join(told).encode("utf-8", "surrogatepass"), self.digest & 0xFFFFFFFF))

    def headers_json(self) -> str:
        """The headers for a row."""
        return msgspec.json.encode(self.headers).decode()

    def __str__(self) -> str:
        return f"{self.address}.{self.method} (command {self.id})"


def from_stream(lane: Lane, subject: str, seq: int, at: int, block: bytes, body: bytes) -> Command:
    """The command of a message of CMD, whose subject is p.<partition>.<tenant>.<kind>.<key>.<method>.

    What is wrong with it is found here, and told in `problem`.
    """
    tenant, address, token, method, actor, problem = _addressed(subject)
    headers = _plain_headers(block, tenant)
    checked = headers is not None
    if headers is None:
        headers = parse_headers(block) if block else {}
    command = Command(lane, address, token, method, headers, body, actor)
    command.stream_seq = seq
    command.stream_at = at
    if not command.id:
        command.id = f"seq-{seq}-{at}"
    command.problem = problem
    if headers and not checked:
        _check_headers(command, tenant)
    if command.problem is not None:
        command.method = readable(method)
    return command


_ID_LINE = f"\r\n{names.ID}: ".encode()
_END = b"\r\n\r\n"
_PLAIN = {names.REPLY, names.REPLY_MODE}


def _plain_headers(block: bytes, tenant: str) -> dict[str, str] | None:
    """The headers of a block that is fine and differs from its caller's others in the id alone, its last line.

    That is nearly every command, and to read and check what is always the same took a tenth of the pod's time. None for
    any other block, be it fine or not.
    """
    begin = block.rfind(_ID_LINE)
    id_at = begin + len(_ID_LINE)
    if begin < 0 or block.find(_END, id_at) != len(block) - len(_END):
        return None
    id = block[id_at : -len(_END)].decode("ascii", "replace")
    caller = _caller_headers(block[:begin], tenant) if names.is_id(id) else None
    return None if caller is None else {**caller, names.ID: id}


@lru_cache(maxsize=4096)
def _caller_headers(begin: bytes, tenant: str) -> dict[str, str] | None:
    """What comes before the id, when it says where to reply and nothing else; None when it is not that, or not fine."""
    headers = parse_headers(begin + _END)
    return headers if headers.keys() <= _PLAIN and _may_reply(headers.get(names.REPLY, ""), tenant) else None


def _may_reply(subject: str, tenant: str) -> bool:
    """Whether a reply subject is one of the tenant's own."""
    return subject.startswith(f"_INBOX.{tenant}.") and _REPLY.match(subject) is not None


@lru_cache(maxsize=65_536)
def _addressed(subject: str) -> tuple[str, Address, str, str, str, Failure | None]:
    """(tenant, address, the key's token, method, actor id, what is wrong with the tenant or the token)."""
    _, _, tenant, kind, token, method = subject.split(".")
    actor = actor_id(tenant, kind, token)
    try:
        return tenant, Address(check_name(tenant, "tenant"), kind, decode_token(token)), token, method, actor, None
    except BadAddress as error:
        address = Address(readable(tenant), kind, readable(token))
        return tenant, address, token, method, actor, Failure("bad_address", str(error))


def readable(token: str) -> str:
    """A token of a subject that may be no name, so that a row can hold it and a person can read it."""
    return token.encode("unicode_escape").decode()[:MAX_TOKEN_BYTES]


_DESCRIBING = {names.CORRELATION, names.CAUSATION, names.TRACEPARENT}


def _check_headers(command: Command, tenant: str) -> None:
    headers = command.headers
    if not names.is_id(command.id):
        command.problem = Failure("bad_request", f"{names.ID} must be 1 to {names.MAX_ID_LENGTH} printable characters")
        command.id = f"seq-{command.stream_seq}-{command.stream_at}"
    reply = headers.get(names.REPLY)
    if reply is not None and not _may_reply(reply, tenant):
        command.problem = Failure(
            "bad_reply_subject",
            f"the reply subject {reply[:80]!r} is not a subject under '_INBOX.{command.address.tenant}.': "
            "nobody is answered there",
        )
        command.parks = True
        del headers[names.REPLY]
    session = headers.get(names.SESSION)
    if session is not None:
        try:
            subjects.events(tenant, session)
        except BadAddress as error:
            text = f"{names.SESSION}: {str(error).replace('the key', 'the session')}"
            command.problem = command.problem or Failure("bad_request", text)
            command.dropped += headers.pop(names.SESSION)
    deadline = headers.get(names.DEADLINE)
    if deadline is not None and not _DEADLINE.match(deadline):
        command.problem = Failure("bad_request", f"{names.DEADLINE} {deadline[:40]!r} is not Unix milliseconds")
        command.dropped += headers.pop(names.DEADLINE)
    start_at = headers.get(names.START_AT)
    if start_at is not None and not _DEADLINE.match(start_at):
        command.problem = Failure("bad_request", f"{names.START_AT} {start_at[:40]!r} is not Unix milliseconds")
        command.dropped += headers.pop(names.START_AT)
    priority = headers.get(names.PRIORITY)
    if priority is not None and not (_PRIORITY.match(priority) and abs(int(priority)) <= names.MAX_PRIORITY):
        text = f"{names.PRIORITY} {priority[:40]!r} is no number from -{names.MAX_PRIORITY} to {names.MAX_PRIORITY}"
        command.problem = Failure("bad_request", text)
        command.dropped += headers.pop(names.PRIORITY)
    for internal in (names.PERMIT, names.FIRST_AT, names.TIMER, names.QUEUE_UNTIL, names.RUN_UNTIL):
        headers.pop(internal, None)
    if headers.keys() & (RUN_HEADERS.keys() | {names.FORK}):
        _check_run_headers(command, tenant)
    _drop_unreadable(headers, tenant)
    if headers.keys() & _DESCRIBING:
        for name in _DESCRIBING:
            value = headers.get(name)
            if value is not None and not names.is_id(value):
                del headers[name]  # a command is not refused for these


def _drop_unreadable(headers: dict[str, str], tenant: str) -> None:
    """Drops what says who waits or is to be told, where it says nobody."""
    for name, parse in (
        (names.CHAIN, chain.parse),
        (names.ANSWER, partial(control.parse_return_address, tenant)),
        (names.THEN, partial(control.parse_then_address, tenant)),
    ):
        if name in headers:
            try:
                parse(headers[name])
            except ValueError:
                del headers[name]


def _check_run_headers(command: Command, tenant: str) -> None:
    headers = command.headers
    for name in headers.keys() & (RUN_HEADERS.keys() | {names.FORK}):
        try:
            if name == names.FORK:
                control.parse_fork(tenant, headers[name])
            else:
                RUN_HEADERS[name](headers[name])
        except ValueError as error:
            command.problem = command.problem or Failure("bad_request", f"{name}: {error}")
            command.dropped += headers.pop(name)


def from_timer(lane: Lane, row: TimerRow) -> Command:
    """The command of a timer that is due."""
    command = Command(
        lane,
        Address(row.tenant, row.kind, row.key),
        encode_token(row.key),
        row.method,
        _headers_decoder.decode(row.headers),
        row.body,
    )
    command.id = row.fire_id
    command.timer = (row.actor, row.name)
    return command


def is_delayed(row: PendingRow, now: float) -> bool:
    """Whether a pending command has not had its first turn, because it is to start later."""
    if row.holds or row.state != "waiting" or row.attempts or names.START_AT not in row.headers:
        return False
    return int(_headers_decoder.decode(row.headers)[names.START_AT]) / 1000 > now


def from_pending(lane: Lane, row: PendingRow) -> Command:
    """The command of a pending row; that of a timer which has not had its turn yet is still the timer's."""
    headers = _headers_decoder.decode(row.headers)
    timer = headers.pop(names.TIMER, None)
    address = Address(row.tenant, row.kind, row.key)
    command = Command(lane, address, encode_token(row.key), row.method, headers, row.body)
    command.id = row.command_id
    command.attempts = row.attempts
    if timer is not None and row.state == "waiting" and row.due_at is None:
        command.timer = (row.actor, timer)
    return command


def to_pending(
    command: Command, state: str, *, holds: bool, attempts: int, due_at: float | None = None, error: str | None = None
) -> PendingRow:
    """The row under which a command waits, runs or backs off."""
    tenant, kind, key = command.address
    headers = command.headers_json()
    if command.timer is not None and state == "waiting":
        headers = msgspec.json.encode(command.headers | {names.TIMER: command.timer[1]}).decode()
    return PendingRow(
        command.lane.lane,
        command.actor,
        command.id,
        tenant,
        kind,
        key,
        command.method,
        command.digest,
        state,  # type: ignore[arg-type]  # one of the three by construction; the table checks it
        holds,
        attempts,
        due_at,
        headers,
        command.body,
        error,
    )
