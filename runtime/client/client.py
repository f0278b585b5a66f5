"""The client: calling actors, and watching what comes of it, from any process that reaches NATS.

async with await Client.connect() as client:
    balance = await client.ask(account, "alice", Withdraw(30), type=int)
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

import msgspec

from runtime.client import completing, listing, orders, starting, tracing
from runtime.client import connection as connections
from runtime.client.approvals import Approvals
from runtime.client.calls import Calls, Watch
from runtime.client.connection import Connection
from runtime.client.envelope import PLAIN, Envelope, Fields, Packing
from runtime.client.failures import address_checked, checked_id, decode_as, encode_body, error_of
from runtime.client.feed import Feed
from runtime.client.kinds import Kinds
from runtime.client.large import LargeReplies
from runtime.client.ordered import OrderedReader
from runtime.client.orders import Deleted
from runtime.client.quota import Quota
from runtime.client.runs import Run
from runtime.client.schedules import Schedules
from runtime.client.sending import Sending
from runtime.client.services import Services
from runtime.client.tail import PAGE, LogPage, tail
from runtime.client.values import values as values_of
from runtime.clock import Clock, system_clock
from runtime.errors import CallFailed
from runtime.sent import method_and_payload
from schemas import headers as h
from schemas import subjects
from schemas.address import Address, encode_token, partition_of
from schemas.digest import digest_of
from schemas.runs import BadRunId, decode_run_id
from schemas.timeline import ListedRun
from schemas.wire import Capability, Fact, Info, Intent, LogEvent, Reply

if TYPE_CHECKING:
    from types import TracebackType

    from runtime.kind import Kind

DEFAULT_URL = "nats://127.0.0.1:4222"
DEFAULT_TIMEOUT_S = 30.0

_decode_fact = msgspec.json.Decoder(Fact).decode


class Client:
    """Speaks for one tenant. Made by `Client.connect`, or from another client by `for_tenant`.

    Every method that takes `kind` takes the kind itself or its name, and `command` is a command object of that kind or
    a method's name with `args` beside it. Failures are Rejected (the actor said no), CallFailed (see
    schemas.errors.CODES) or NotConnected.
    """

    def __init__(
        self, connection: Connection, tenant: str, clock: Clock = system_clock, signing_key: bytes | None = None
    ) -> None:
        """Use `Client.connect`. `connection` is shared and stays open when this client is closed."""
        self.connection = connection
        self.tenant = tenant
        self._clock = clock
        self._signing_key = signing_key
        self._nonce = clock.token(8)
        self._calls = Calls(connection, tenant, self._nonce, self._on_silence)
        self._quota = Quota(connection, tenant, clock.monotonic)
        self._sending = Sending(connection, self._calls, Packing(connection, tenant, clock, signing_key), self._quota)
        self._kinds = Kinds(self.capabilities)
        self._inbox = self._calls.inbox
        self._large = LargeReplies(connection)
        self._services = Services(connection, self._inbox, self._large)
        self.schedules = Schedules(self)
        self.approvals = Approvals(self)
        """What starts commands again and again."""
        self._owned: Connection | None = None
        self._info: Info | None = None
        self._readers = 0

    @classmethod
    async def connect(
        cls,
        url: str | None = None,
        tenant: str | None = None,
        *,
        name: str = "troupe-client",
        connect_timeout_s: float = 5.0,
        clock: Clock = system_clock,
        signing_key: bytes | None = None,
        **options: Any,
    ) -> Self:
        """A client with a connection of its own.

        Args:
            url: NATS servers, separated by commas; else RUNTIME_NATS_URL, else nats://127.0.0.1:4222.
            tenant: whose actors; else RUNTIME_TENANT, else `default`.
            name: how the broker's monitoring shows this client.
            connect_timeout_s: seconds in all until NotConnected is raised.
            signing_key: proves principals to pods; see schemas.signature.
            options: further options of nats-py's connect (credentials, TLS).
        """
        tenant = tenant or os.environ.get("RUNTIME_TENANT") or "default"
        connection = await connections.connect(
            url or os.environ.get("RUNTIME_NATS_URL") or DEFAULT_URL,
            name=name,
            inbox_prefix=subjects.inbox_prefix(tenant),
            connect_timeout_s=connect_timeout_s,
            **options,
        )
        client = cls(connection, tenant, clock, signing_key)
        client._owned = connection
        await client.open()
        return client

    async def open(self) -> None:
        """Begins to listen for replies; `connect` and `for_tenant` have done it."""
        await self._inbox.open()
        await self._quota.open()

    async def for_tenant(self, tenant: str) -> Self:
        """A client for another tenant over the same connection; close it before this one."""
        client = type(self)(self.connection, tenant, self._clock, self._signing_key)
        await client.open()
        return client

    def give_up(self) -> None:
        """Ends the waiting of all calls in flight, as if their time were over; for a process that has to go."""
        self._calls.give_up()

    async def close(self) -> None:
        """Fails what is still in flight, and closes the connection if this client made it."""
        self._calls.close()
        self._kinds.close()
        if self._owned is not None:
            await self._owned.close()
        else:
            await self._inbox.close()
            await self._quota.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Commands

    async def ask(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        type: Any = Any,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        id: str | None = None,
        **envelope: Unpack[Fields],
    ) -> Any:
        """Sends a command and waits for its result, decoded to `type`.

        Args:
            timeout_s: how long to wait, in seconds. The command may still be processed after that.
            id: the command's id; asking again with the same one gives the recorded answer.
            envelope: the fields of Envelope.
        """
        subject, body = self._command(kind, key, command, args)
        reply = await self._sending.call(subject, body, timeout_s, id, Envelope(**envelope) if envelope else PLAIN)
        if reply.error is not None:
            reply = await self._large.whole(reply)
        if reply.error is not None:
            raise error_of(reply.error)
        return decode_as(reply.result, type)

    async def call(
        self,
        kind: str,
        key: str,
        method: str,
        body: bytes,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        id: str | None = None,
        envelope: Envelope = PLAIN,
    ) -> Reply:
        """Like `ask` with arguments that are JSON already, for relays: the reply itself, whatever it says."""
        reply = await self._sending.call(_subject(self.tenant, kind, key, method), body, timeout_s, id, envelope)
        return reply if reply.error is None else await self._large.whole(reply)

    async def tell(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        id: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        **envelope: Unpack[Fields],
    ) -> str:
        """Sends a command without waiting for the actor, and returns its id once the broker has stored it."""
        subject, body = self._command(kind, key, command, args)
        id = self._calls.new_id() if id is None else checked_id(id)
        await self._sending.publish(subject, id, body, Envelope(**envelope), timeout_s, watched=False)
        return id

    async def submit(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        id: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        **envelope: Unpack[Fields],
    ) -> Run:
        """Like `tell`, but gives a Run, whose result can be waited for, here or by its id anywhere else."""
        name, method, payload = method_and_payload(kind, command, args)
        return await self.submit_body(
            name, key, method, encode_body(payload), id=id, timeout_s=timeout_s, envelope=Envelope(**envelope)
        )

    async def submit_body(
        self,
        kind: str,
        key: str,
        method: str,
        body: bytes,
        *,
        id: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        envelope: Envelope = PLAIN,
    ) -> Run:
        """`submit` with arguments that are JSON already."""
        subject = _subject(self.tenant, kind, key, method)
        watch = None
        if id is None:
            id = self._calls.new_id()
            watch = self._calls.watch(id)
        run = self.run_of(kind, key, method, body, checked_id(id), watch)
        await self._sending.publish(subject, id, body, envelope, timeout_s, watched=watch is not None)
        return run

    def run(self, run_id: str) -> Run:
        """The run of that id, submitted by anybody of this tenant. Raises CallFailed (bad_request)."""
        try:
            return Run(self, *decode_run_id(run_id))
        except BadRunId as error:
            raise CallFailed("bad_request", str(error)) from error

    def new_id(self) -> str:
        """An id for a command, that no other one has."""
        return self._calls.new_id()

    def runs(self, **wanted: Any) -> AsyncGenerator[ListedRun, None]:
        """The tenant's runs, the latest first, all pages. For `wanted` see runtime.client.listing.page."""
        return listing.every(self, **wanted)

    def run_of(self, kind: str, key: str, method: str, body: bytes, id: str, watch: Watch | None = None) -> Run:
        """The run of exactly this command: an id may have been refused with another body before."""
        # A pod that could not fetch a large body never knew its digest.
        digest = digest_of(method, body) if self._sending.fits(body) else None
        return Run(self, kind, key, id, digest, watch)

    async def stream(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        type: Any = Any,
        id: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        **envelope: Unpack[Fields],
    ) -> AsyncGenerator[Any, None]:
        """Runs a generator, and gives what it yields, each value decoded to `type` once it is committed.

        With the same `id` anybody gets the same values again, whatever died meanwhile; to go on behind those that one
        has, see `values`. `timeout_s` is for storing the command. Raises what the run fails with, behind its values.
        """
        run = await self.submit(kind, key, command, args, id=id, timeout_s=timeout_s, **envelope)
        async with aclosing(self.values(run, type=type)) as values:
            async for _, value in values:
                yield value

    async def values(
        self, run: Run | str, *, after: int = 0, type: Any = Any
    ) -> AsyncGenerator[tuple[int, Any], None]:
        """(number, value) of what a run, or the run of that id, yields, from its value number `after` on to its end."""
        one = self.run(run) if isinstance(run, str) else run
        async with aclosing(values_of(self, one, after, type)) as values:
            async for numbered in values:
                yield numbered

    async def workflow(self, kind: Kind | str, key: str) -> Run:
        """The latest run of a workflow under that id, to signal, update, cancel or await.

        Raises CallFailed (not_running) when there is none.
        """
        name = kind if isinstance(kind, str) else kind.name
        known = await self.query(name, key, "current")
        if not known["run"]:
            raise CallFailed("not_running", f"no run was ever started as {name}/{key}")
        return Run(self, name, key, known["run"])

    async def signal_with_start(
        self, kind: Kind | str, key: str, name: str, value: Any = None, args: Any = None, **given: Any
    ) -> Run:
        """Sends a signal to a workflow's run, which begins with `args` if none goes on; see runtime.client.starting."""
        return await starting.signal_with_start(self, kind, key, name, value, args, **given)

    async def delete(
        self, kind: Kind | str, key: str, *, by: str | None = None, reason: str = "", force: bool = False,
        timeout_s: float = 60.0,
    ) -> Deleted:  # fmt: skip
        """Deletes an actor: its events and state, what waits for it, its timers, runs and dead letters.

        One event stays, which says who did it and why, and begins a new life under the same key. What was sent to it
        before and comes again is answered with CallFailed (`deleted`), and does not count. Segments of the archive stay
        as they are; the answer names them. Raises Rejected when the actor works, unless `force` ends that, and when it
        has no events; CallFailed (unavailable).
        """
        name = kind if isinstance(kind, str) else kind.name
        return await orders.delete(self, name, key, by=by, reason=reason, force=force, timeout_s=timeout_s)

    async def complete(self, token: str, value: Any = None, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Completes the step that handed out `token` (`ctx.external`); see runtime.client.completing.complete."""
        await completing.complete(self, token, value, timeout_s=timeout_s)

    async def fail(self, token: str, reason: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Fails it: the run gets a StepFailed. Raises as `complete` does."""
        await completing.complete(self, token, error=reason, timeout_s=timeout_s)

    async def intent(self, session: str, intent: Intent, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> str:
        """Says an intent in a session, and returns its id once the broker has stored it; the session shows the rest."""
        id = self._calls.new_id() if intent.id is None else checked_id(intent.id)
        with address_checked():
            subject = subjects.intent(self.tenant, session)
        body = msgspec.json.encode(msgspec.structs.replace(intent, id=id))
        if not self._sending.fits(body):
            raise CallFailed("too_large", f"the intent has {len(body)} bytes, more than a message: send a command")
        await self._sending.publish(subject, id, body, PLAIN, timeout_s, watched=False)
        return id

    # Reads

    async def query(
        self,
        kind: Kind | str,
        key: str,
        method: str,
        args: Any = None,
        *,
        type: Any = Any,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Any:
        """Asks the actor's owner to read its committed state. `method` is a query of the kind."""
        name = kind if isinstance(kind, str) else kind.name
        reply = await self.read(name, key, method, encode_body(args), timeout_s=timeout_s)
        return decode_as(reply.result, type)

    async def read(
        self, kind: str, key: str, method: str, body: bytes, *, timeout_s: float, attempt_s: float = 5.0
    ) -> Reply:
        """`query` with arguments that are JSON already, giving the Reply itself.

        A silent owner is asked again every `attempt_s` seconds.
        """
        address = Address(self.tenant, kind, key)
        with address_checked():
            anywhere = subjects.query(0, address, method)

        async def subject() -> str:
            info = await self.info()
            return subjects.query(partition_of(self.tenant, kind, encode_token(key), info.partitions), address, method)

        async def unanswered() -> None:
            self._info = None  # the broker may have been made anew with other partitions
            await self.check_kind(kind)

        async def request(block: bytes = b"") -> Reply:
            what = f"{method} of {address}"
            return await self._services.request(
                subject, body, what, timeout_s=timeout_s, attempt_s=attempt_s, header_block=block, unanswered=unanswered
            )

        if tracing.active is None:
            return await request()
        with tracing.active.span("query", anywhere, "", None) as span:
            return await request(connections.header_block({h.TRACEPARENT: span.traceparent}))

    async def service(self, name: str, request: Any = None, *, type: Any = Any, timeout_s: float = 10.0) -> Any:
        """What any pod answers on `svc.<name>`, see schemas.subjects.SERVICES."""
        reply = await self._services.request(
            f"svc.{name}", encode_body(request), f"service {name!r}", timeout_s=timeout_s
        )
        return decode_as(reply.result, type)

    async def info(self) -> Info:
        """What there is to know of the system, asked of a pod once."""
        if self._info is None:
            self._info = await self.service("info", type=Info)
        return self._info

    async def capabilities(self) -> list[Capability]:
        """The kinds that pods serve, asked of a pod now."""
        known: list[Capability] = await self.service("capabilities", type=list[Capability])
        return known

    async def check_kind(self, kind: str) -> None:
        """Raises CallFailed (unknown_kind) when pods answer and say that nothing of this name exists."""
        await self._kinds.check(kind)

    # Streams

    async def subscribe(
        self, session: str, *, after: int | Literal["new"] | None = None
    ) -> AsyncGenerator[tuple[int, Fact], None]:
        """(sequence, fact) of a session, without end.

        Args:
            after: the sequence behind which to begin; None begins with the oldest fact that the stream still holds
                (it keeps an hour), `new` with the next one.

        Raises StreamReset when what follows `after` is not in the stream.
        """
        reader = await self.read_session(session, 0 if after is None else after)
        try:
            while True:
                entry = await reader.next()
                yield entry.sequence, _decode_fact(entry.body)
        finally:
            await reader.close()

    async def read_session(
        self, session: str, after: int | Literal["new"], *, timeout_s: float = 10.0
    ) -> OrderedReader:
        """An open cursor over the facts of a session, as they are in the stream; close it when done.

        Raises StreamReset, or CallFailed or NotConnected when it could not be opened within `timeout_s` seconds.
        """
        with address_checked():
            subject = subjects.events(self.tenant, session)
        self._readers += 1
        reader = OrderedReader(
            self.connection, self._inbox, f"{self._nonce}-r{self._readers}", subjects.EV_STREAM, subject
        )
        await reader.open(after, timeout_s=timeout_s)
        return reader

    def feed(self) -> Feed:
        """One cursor over the sessions of all tenants, for a process that watches many; this client may read `ev.>`."""
        self._readers += 1
        name = f"{self._nonce}-r{self._readers}"
        return Feed(self.connection, self._inbox, name, subjects.EV_STREAM, subjects.ALL_EVENTS)

    async def tail(self, kind: Kind | str, key: str, *, from_seq: int = 1) -> AsyncGenerator[LogEvent, None]:
        """The actor's events from `from_seq` on, and each new one once it is committed, without end."""
        name = kind if isinstance(kind, str) else kind.name
        info = await self.info()
        with address_checked():
            partition = partition_of(self.tenant, name, encode_token(key), info.partitions)

        async def read(seq: int) -> list[LogEvent]:
            request = {"tenant": self.tenant, "kind": name, "key": key, "from_seq": seq, "limit": PAGE}
            page: LogPage = await self.service("log", request, type=LogPage)
            return page.events

        async with aclosing(tail(self.connection, partition, info.partitions, from_seq, read)) as events:
            async for event in events:
                yield event

    # How a command is put together

    def _on_silence(self, subject: str) -> None:
        self._kinds.check_silent(self._calls, subject)

    def _command(self, kind: Kind | str, key: str, command: Any, args: Any) -> tuple[str, bytes]:
        if command.__class__ is str and kind.__class__ is str:
            return _subject(self.tenant, kind, key, command), encode_body(args)
        name, method, payload = method_and_payload(kind, command, args)
        return _subject(self.tenant, name, key, method), encode_body(payload)


@lru_cache(maxsize=65_536)
def _subject(tenant: str, kind: str, key: str, method: str) -> str:
    with address_checked():
        return subjects.command(Address(tenant, kind, key), method)
