"""A World on the real engine: the same calls, answered by a pod on NATS and Postgres, in a time that skips.

    TROUPE_TEST_ENGINE=real pytest
    pytest -p runtime.testing.plugin --engine=real
    World(checkout, engine="real")                     # one test only

The pod lives in a thread of this process. Each World has an empty log; one lives at a time. Where it differs from the
one in memory: a run waits for what has no time-out, until it is said (`ask` raises CallFailed `timeout` then), the
dead letters' `cause` is a CallFailed, `log` has the times of the server's clock, and always_replay changes nothing:
that is for the other one to find.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from math import inf
from typing import Any, TypeVar

import msgspec

from runtime.client import Client, orders
from runtime.client.envelope import Envelope
from runtime.client.runs import Run
from runtime.clock import ManualClock
from runtime.entity import Entity
from runtime.errors import BadDefinition, CallFailed, NotConnected, TroupeError
from runtime.host.ports import LogUnavailable
from runtime.host.settings import PodSettings
from runtime.jetstream.streams import delete_all
from runtime.keyvalue import KeyValueEntity, ValueDeleted, ValueSet
from runtime.kind import SYSTEM_EVENT_PREFIX, Kind, Read
from runtime.postgres.databases import copy_migrated, drop
from runtime.scenario import named, unknown
from runtime.stubs import Steps, stubs_of
from runtime.testing import World, servers
from runtime.testing.looking import Looking, actor_of
from runtime.testing.skipping import LOOK_S, SkippingPod
from runtime.world_actor import Command, DeadLetter, Outcome
from schemas import subjects
from schemas.address import Address
from schemas.wire import LogEvent, Reply

T = TypeVar("T")

PATIENCE_S = 120.0
"""Seconds of real time after which what has not come to rest is given up."""

MAX_SKIPS = 5_000
"""Times that one call may skip to; more are taken for something that goes on for ever."""

DATABASE = "troupe_world"
TEMPLATE = "troupe_world_template"
SIGNING_KEY = "a key of the tests' own, for principals that nobody else believes"
LEASE_S = 600.0

_open: RealWorld | None = None


def close_open() -> None:
    """Closes the world that is open, if there is one."""
    if _open is not None:
        _open.close()


class RealWorld(World):
    """See runtime.testing.World, and above."""

    def __init__(
        self,
        *kinds: Kind,
        clock: ManualClock | None = None,
        seed: int = 0,
        always_replay: bool = True,
        steps: Steps | None = None,
        engine: str | None = None,
    ) -> None:
        global _open  # the broker's streams are there once
        close_open()
        self.clock = clock or ManualClock(seed=seed)
        self._kinds = {kind.name: kind for kind in kinds}
        if len(self._kinds) != len(kinds):
            raise BadDefinition("two kinds of this world have one name: rename one of them")
        self._held: dict[tuple[Address, str], list[tuple[str, Any]]] = {}
        self._clients: dict[str, Client] = {}
        self._asked = 0
        self._servers = servers.endpoints(before_they_end=close_open)
        loop = asyncio.new_event_loop()
        self._loop: asyncio.AbstractEventLoop | None = loop
        threading.Thread(target=_serve, args=(loop,), name="troupe-world", daemon=True).start()
        _open = self
        try:
            self._do(self._begin(stubs_of(steps)))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the pod and drops the log. Nothing can be asked of this world any more."""
        global _open  # see above
        if _open is self:
            _open = None
        if self._loop is None:
            return
        try:
            self._do(self._end())
        finally:
            loop, self._loop = self._loop, None
            loop.call_soon_threadsafe(loop.stop)

    # -- what a World does ----------------------------------------------------------------------------------------

    def ask(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        id: str | None = None,
        tenant: str = "default",
        principal: str | None = None,
        roles: tuple[str, ...] = (),
        sender: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        type: Any = Any,
    ) -> Any:
        sent = self._command(kind, key, command, args, id, tenant, principal, roles, sender, headers)
        return self._do(self._ask(sent)).value(type)

    def tell(
        self,
        kind: Kind | str,
        key: str,
        command: Any,
        args: Any = None,
        *,
        id: str | None = None,
        tenant: str = "default",
        principal: str | None = None,
        roles: tuple[str, ...] = (),
    ) -> str:
        sent = self._command(kind, key, command, args, id, tenant, principal, roles)
        self._do(self._tell(sent))
        return sent.id

    def signal(
        self, kind: Kind | str, key: str, run: str, name: str, value: Any = None, *, tenant: str = "default"
    ) -> None:
        address, _ = self._address(kind, key, tenant)
        self._do(self._signal(address, run, name, value))

    def signal_with_start(
        self, kind: Kind | str, key: str, name: str, value: Any = None, args: Any = None, *,
        id: str | None = None, tenant: str = "default",
    ) -> str:  # fmt: skip
        address, _ = self._address(kind, key, tenant)
        return self._do(self._signal_with_start(address, name, value, args, id or self.clock.token(16)))

    def complete(self, token: str, value: Any = None, *, tenant: str = "default") -> None:
        self._do(self._complete(token, value, None, tenant))

    def fail(self, token: str, reason: str, *, tenant: str = "default") -> None:
        self._do(self._complete(token, None, reason, tenant))

    def delete(
        self, kind: Kind | str, key: str, *, by: str | None = None, reason: str = "", force: bool = False,
        tenant: str = "default",
    ) -> int:  # fmt: skip
        address, _ = self._address(kind, key, tenant)
        return self._do(self._delete(address, by, reason, force))

    def query(
        self, kind: Kind | str, key: str, query: Any, args: Any = None, *, tenant: str = "default", type: Any = Any
    ) -> Any:
        address, known = self._address(kind, key, tenant)
        name, payload = named(known, query, args)
        if not isinstance(known.methods.get(name), Read):
            raise unknown(known, "query", name, Read)
        return self._do(self._query(address, name, payload, type))

    def state(self, kind: Kind | str, key: str, *, tenant: str = "default") -> Any:
        address, known = self._address(kind, key, tenant)
        state = self._do(self._looking.state(address, known))
        if isinstance(known, KeyValueEntity):
            return {name: msgspec.json.decode(value) for name, value in state.items()}
        return state

    def events(self, kind: Kind | str, key: str, *, tenant: str = "default") -> list[Any]:
        address, known = self._address(kind, key, tenant)
        every = self._do(self._looking.stored(address))
        stored = [event for event in every if not event.type.startswith(SYSTEM_EVENT_PREFIX)]
        if isinstance(known, Entity):
            return [known.read(event) for event in stored]
        types: dict[str, Any] = {"ValueSet": ValueSet, "ValueDeleted": ValueDeleted}
        return [msgspec.json.decode(event.payload, type=types[event.type]) for event in stored]

    def advance(self, seconds: float) -> None:
        self._do(self._advance(seconds))

    def resume(self, kind: Kind | str, key: str, *, tenant: str = "default") -> None:
        address, _ = self._address(kind, key, tenant)
        self._do(self._resume(address))

    def replay(self) -> None:
        self._do(self._looking.replay(self._kinds))

    @property
    def log(self) -> list[LogEvent]:  # type: ignore[override]  # it is read, not kept
        """Every event of every actor, in the order of their commit."""
        return self._do(self._looking.log())

    @property
    def dead(self) -> list[DeadLetter]:  # type: ignore[override]  # it is read, not kept
        """The commands that were parked."""
        return self._do(self._looking.dead(self._clients))

    @property
    def waiting(self) -> list[Command]:  # type: ignore[override]  # see below
        """Not known here: raises TroupeError."""
        raise TroupeError(
            "World.waiting is not known on the real engine: ask the actor with `ask`, which says that it is paused, or "
            "run this test with engine='memory'"
        )

    # -- the thread of the pod ------------------------------------------------------------------------------------

    def _do(self, job: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            job.close()
            raise TroupeError(
                "this world is closed: on the real engine one World lives at a time, until the next one begins or its "
                "test ends"
            )
        return asyncio.run_coroutine_threadsafe(job, self._loop).result()

    async def _begin(self, stubs: Mapping[str, Callable[..., Any]]) -> None:
        found = self._servers
        own, broker = await asyncio.gather(
            copy_migrated(found.postgres_url, DATABASE, TEMPLATE), Client.connect(found.nats_url, connect_timeout_s=30)
        )
        await delete_all(broker.connection)
        await broker.close()
        settings = PodSettings(
            found.nats_url, own, partitions=1, lease_ttl_s=LEASE_S, suspend_after_s=0.0, drain_s=0.1,
            signing_key=SIGNING_KEY,
        )  # fmt: skip
        self._pod = SkippingPod(settings, self._kinds, self.clock, stubs)
        await self._pod.start()
        self._looking = Looking(self._pod.pod)
        client = await Client.connect(found.nats_url, tenant="default", clock=self._pod.clock, connect_timeout_s=30)
        self._clients["default"] = client

    async def _end(self) -> None:
        for client in reversed(self._clients.values()):
            await client.close()
        if hasattr(self, "_pod"):
            await self._pod.stop()
            await drop(self._servers.postgres_url, DATABASE)

    async def _client(self, tenant: str) -> Client:
        if tenant not in self._clients:
            self._clients[tenant] = await Client.connect(
                self._servers.nats_url, tenant=tenant, clock=self._pod.clock, connect_timeout_s=30
            )
        return self._clients[tenant]

    # -- commands -------------------------------------------------------------------------------------------------

    async def _ask(self, sent: Command) -> Outcome:
        client = await self._client(sent.address.tenant)
        reply = asyncio.ensure_future(self._call(client, sent))
        self._asked += 1
        try:
            await self._arrived(client, sent, reply)
            await self._say_held(client, sent, reply)
            await self._drive(reply, sent)
            answer = await reply
        finally:
            self._asked -= 1
            reply.cancel()
        await self._settle()
        return Outcome(bytes(answer.result), answer.error)

    async def _tell(self, sent: Command) -> None:
        client = await self._client(sent.address.tenant)
        reply = asyncio.ensure_future(self._call(client, sent))
        self._asked += 1
        try:
            await self._arrived(client, sent, reply)
            await self._say_held(client, sent, reply)
            await self._settle()
        finally:
            self._asked -= 1
            reply.cancel()
            await asyncio.gather(reply, return_exceptions=True)

    def _call(self, client: Client, sent: Command) -> Coroutine[Any, Any, Reply]:
        _, kind, key = sent.address
        subject = subjects.command(sent.address, sent.method)
        identity = self._pod.pod.identity
        given = dict(sent.headers)
        if sent.principal is not None:
            given |= identity.vouch(subject, sent.id, sent.body, sent.principal, sent.roles)
        if sent.sender is not None:
            given |= identity.prove(sent.sender, subject, sent.id, sent.body)
        envelope = Envelope(headers=given or None)
        return client.call(kind, key, sent.method, sent.body, id=sent.id, timeout_s=PATIENCE_S, envelope=envelope)

    async def _arrived(self, client: Client, sent: Command, reply: asyncio.Future[Any]) -> None:
        """Returns when the pod knows of the command: before that, all may be still although it is on its way."""
        _, kind, key = sent.address
        run = client.run_of(kind, key, sent.method, sent.body, sent.id)
        while not reply.done() and (await run.status(timeout_s=PATIENCE_S)).status == "unknown":
            await asyncio.sleep(LOOK_S)

    async def _say_held(self, client: Client, sent: Command, reply: asyncio.Future[Any]) -> None:
        """Says what was said to the run before it began, in order; none of it reaches one that has ended by then."""
        for name, value in self._held.pop((sent.address, sent.id), []):
            while not await self._said(client, sent.address, sent.id, name, value) and not reply.done():
                await asyncio.sleep(LOOK_S)

    async def _signal(self, address: Address, run: str, name: str, value: Any) -> None:
        client = await self._client(address.tenant)
        if (address, run) not in self._held and await self._said(client, address, run, name, value):
            await self._settle_unless_asked()
        else:
            self._held.setdefault((address, run), []).append((name, value))

    async def _said(self, client: Client, address: Address, run: str, name: str, value: Any) -> bool:
        try:
            one = Run(client, address.kind, address.key, run)
            await one.signal(name, value, id=self.clock.token(16), timeout_s=PATIENCE_S)
        except CallFailed as error:
            if error.code != "not_running":
                raise
            return False
        return True

    async def _signal_with_start(self, address: Address, name: str, value: Any, args: Any, id: str) -> str:
        client = await self._client(address.tenant)
        run = await client.signal_with_start(
            address.kind, address.key, name, value, args, id=id, timeout_s=PATIENCE_S
        )
        await self._settle_unless_asked()
        return run.command_id

    async def _complete(self, token: str, value: Any, reason: str | None, tenant: str) -> None:
        client = await self._client(tenant)
        if reason is None:
            await client.complete(token, value, timeout_s=PATIENCE_S)
        else:
            await client.fail(token, reason, timeout_s=PATIENCE_S)
        await self._settle_unless_asked()

    async def _delete(self, address: Address, by: str | None, reason: str, force: bool) -> int:
        client = await self._client(address.tenant)
        deleted = await client.delete(
            address.kind, address.key, by=by, reason=reason, force=force, timeout_s=PATIENCE_S
        )
        await self._settle()
        return deleted.events

    async def _settle_unless_asked(self) -> None:
        """What a handler says, by way of the test, it says while a call waits: that lets happen what follows."""
        if not self._asked:
            await self._settle()

    async def _query(self, address: Address, name: str, payload: Any, type: Any) -> Any:
        client = await self._client(address.tenant)
        return await client.query(address.kind, address.key, name, payload, type=type, timeout_s=PATIENCE_S)

    # -- time -----------------------------------------------------------------------------------------------------

    async def _still(self) -> None:
        """Returns when nothing goes on but what waits for its time, and everybody has heard all that was said."""
        ends = time.monotonic() + PATIENCE_S
        await self._pod.skip(self.clock.now())  # the test may have moved the clock itself
        while not await self._is_still():
            if self._pod.pod.failed.is_set():
                raise TroupeError("the world's pod has failed: see its log")
            if time.monotonic() > ends:
                running = ", ".join(self._pod.running()) or "nothing that is known"
                raise TroupeError(f"the world did not come to rest within {PATIENCE_S:g} s; running is {running}")
            await asyncio.sleep(LOOK_S)
        await self._pod.pod.connection.flush()
        for client in self._clients.values():
            await client.connection.flush()
        await asyncio.sleep(LOOK_S)

    async def _is_still(self) -> bool:
        try:
            return await self._pod.still()
        except (NotConnected, LogUnavailable):  # a server that is slow to answer is asked again
            return False

    async def _drive(self, reply: asyncio.Future[Any], sent: Command) -> None:
        """Lets time pass until there is an answer."""
        for _ in range(MAX_SKIPS):
            await self._still()
            if reply.done():
                return
            due = await self._pod.next_due(timers=True)
            if due == inf:
                raise CallFailed("timeout", f"nothing can come meanwhile: {sent} waits; {await self._why(sent)}")
            await self._pod.skip(due)
        raise TroupeError(f"{MAX_SKIPS} times came, and {sent} was not answered: is it a loop?")

    async def _settle(self) -> None:
        """Lets everything that follows happen: runs go on to their ends, timers wait for `advance`."""
        for _ in range(MAX_SKIPS):
            await self._still()
            due = await self._pod.next_due(timers=False)
            if due == inf:
                return
            await self._pod.skip(due)
        raise TroupeError(f"{MAX_SKIPS} times came for runs that go on: do they have an end?")

    async def _advance(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        for _ in range(MAX_SKIPS):
            await self._still()
            due = await self._pod.next_due(timers=True)
            if due > until:
                await self._pod.skip(until)
                return await self._still()
            await self._pod.skip(due)
        raise TroupeError(f"{MAX_SKIPS} times came within {seconds:g} s: is it a loop?")

    async def _why(self, sent: Command) -> str:
        actor = actor_of(sent.address)
        if any(actor in lane.paused for lane in self._pod.pod.lanes.values()):
            return f"{sent.address} is paused: command {sent.id!r} waits until it is resumed"
        return "say what it waits for before"

    async def _resume(self, address: Address) -> None:
        client = await self._client(address.tenant)
        await orders.order(client, address.kind, address.key, "resume", None, "", timeout_s=PATIENCE_S)
        await self._settle()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
