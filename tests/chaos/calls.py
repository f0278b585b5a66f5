"""Calling actors in one of three ways, and writing down what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from runtime.client import Client, Envelope
from runtime.client.envelope import PLAIN
from runtime.client.runs import Run
from runtime.client.starting import Begun
from runtime.errors import CallFailed, Rejected, TroupeError
from schemas import control
from schemas.address import Address
from schemas.wire import Reply
from tests.chaos.raw import RawCaller
from tests.chaos.record import CALL_OFF, SAID, TOO_LATE, Entry, Look, Outcome, Record, Via
from tests.chaos.web import Web

LOOK_TIMEOUT_S = 30.0
FULL_PAUSE_S = 0.2
SAY_PAUSE_S = 0.1
DELETE_S = 20.0
"""Longer than a fault holds up what is on its way: an order that comes so late would delete what came since."""

TWICE, LATER, OTHERWISE = 0.01, 0.02, 0.025
"""Shares of the commands that are asked twice at once, asked again later, and sent again with other arguments."""

_ENDS: dict[str, Outcome] = {
    "rejected": "rejected", "cancelled": "cancelled", "terminated": "terminated", "timed_out": "timed_out"
}  # fmt: skip
_WIRE = {"join": "run", TOO_LATE: control.SIGNAL, **dict.fromkeys(SAID, "say")}
"""What entries are called that are not called as their method is."""

Kept = Callable[[bytes | str], int | None]
"""What of a result is kept."""

_int_or_none: Kept = msgspec.json.Decoder(int | None).decode
_look = msgspec.json.Decoder(tuple[int, int])


def address_of(actor: str) -> Address:
    """The address that `<tenant>/<kind>/<key>` names."""
    return Address(*actor.split("/"))


class Calls:
    """Writes to `record`; no call is waited for beyond `deadline`, on the monotonic clock.

    `directory` is where steps leave their tokens (outside.py).
    """

    def __init__(
        self, record: Record, clients: dict[str, Client], raw: RawCaller, web: Web, deadline: float, directory: Path
    ) -> None:
        self.record = record
        self._clients = clients
        self._raw = raw
        self._web = web
        self.deadline = deadline
        self.directory = directory
        self.told: defaultdict[str, int] = defaultdict(int)
        """actor → the highest sequence that anybody was told."""

    async def send(
        self,
        entry: Entry,
        args: dict[str, Any],
        chance: random.Random,
        kept: Kept = _int_or_none,
    ) -> Entry:
        """One command, answered and written down; sometimes asked twice, and sometimes misused."""
        self.record.entries.append(entry)
        body, twice = msgspec.json.encode(args), chance.random()
        named = entry.via == "http" and chance.random() < 0.5
        entry.sent_at, started = time.time(), time.monotonic()
        try:
            if twice < TWICE:
                reply, other = await asyncio.gather(*[self._call(entry, body, named=named) for _ in range(2)])
                entry.again = (_of(other, kept), other.seq)
            else:
                reply = await self._call(entry, body, named=named)
        except (TroupeError, TimeoutError) as error:
            entry.error = str(error)
            return entry
        entry.waited_s = time.monotonic() - started
        asked_as, entry.id, entry.seq = entry.id, reply.id, reply.seq
        self.told[entry.actor] = max(self.told[entry.actor], reply.seq)
        if reply.error is not None:
            entry.outcome = _ENDS.get(reply.error.code, "failed")
            entry.error = f"{reply.error.code}: {reply.error.message}"
            return entry
        entry.outcome = "done"
        entry.value = kept(reply.result)
        if TWICE <= twice < LATER:
            await self._ask_again(entry, body, asked_as, kept, named=named)
        elif LATER <= twice < OTHERWISE and entry.method != CALL_OFF:
            await self._reuse(entry, args, asked_as, named=named)
        return entry

    async def publish(self, entry: Entry, args: dict[str, Any]) -> Entry:
        """One command that only the broker acknowledges."""
        self.record.entries.append(entry)
        body = msgspec.json.encode(args)
        entry.sent_at, started = time.time(), time.monotonic()
        try:
            await self._raw.publish(address_of(entry.actor), entry.method, body, entry.id, self._left())
        except TimeoutError as error:
            entry.error = str(error)
            return entry
        entry.waited_s = time.monotonic() - started
        entry.outcome = "stored"
        return entry

    async def say(
        self, actor: str, method: str, body: control.Signal | control.Cancel, ended: asyncio.Future[Any]
    ) -> None:
        """Tells a run something that has not `ended`; said before it was accepted, it is said again under a new id."""
        name = body.name if isinstance(body, control.Signal) else "end"
        address, encoded = address_of(actor), msgspec.json.encode(body)
        for number in itertools.count():
            call = partial(self._clients[address.tenant].call, address.kind, address.key, method, encoded)
            with contextlib.suppress(TroupeError, TimeoutError):
                reply = await self._by_client(partial(_in_time, call, f"{body.run}-{name}-{number}"))
                if reply.error is None or reply.error.code != "not_running":
                    return
            if ended.done() or time.monotonic() > self.deadline:
                return
            await asyncio.sleep(SAY_PAUSE_S)

    async def begin(self, entry: Entry, names: Sequence[str], args: dict[str, Any]) -> Entry:
        """A workflow's run that is begun by signals of these names, sent at once, and what came of it."""
        self.record.entries.append(entry)
        entry.sent_at, started = time.time(), time.monotonic()
        address = address_of(entry.actor)
        client = self._clients[address.tenant]
        try:
            replies = await asyncio.gather(*[self._begin(entry, name, args) for name in names])
            if refused := [reply.error for reply in replies if reply.error is not None]:
                entry.outcome, entry.error = "failed", str(refused)
                return entry
            begun = [msgspec.json.decode(reply.result, type=Begun) for reply in replies]
            if len({one.run for one in begun}) != 1 or sum(one.started for one in begun) != 1:
                self.record.misordered.append((entry.actor, f"its signals began {begun}, and one run is right"))
            entry.id = begun[0].run
            status = await Run(client, address.kind, address.key, entry.id).settled(self._left())
        except (TroupeError, TimeoutError) as error:
            entry.error = str(error)
            return entry
        entry.waited_s = time.monotonic() - started
        if status.settled:
            entry.outcome = "done" if status.error is None else _ENDS.get(status.error.code, "failed")
            entry.error = "" if status.error is None else f"{status.error.code}: {status.error.message}"
            entry.value = None if status.error else _int_or_none(status.result)
        return entry

    def _begin(self, entry: Entry, name: str, args: dict[str, Any]) -> Awaitable[Reply]:
        tenant, kind, key = address_of(entry.actor)
        body = msgspec.json.encode(control.Start(name, entry.amount, args))
        call = partial(self._clients[tenant].call, kind, key, control.START, body)
        return self._by_client(partial(_in_time, call, f"{entry.id}-{name}"))

    async def complete(self, tenant: str, token: str, value: int, ended: asyncio.Future[Any]) -> bool:
        """Completes a step by its token; false when it was refused, as it must be once it was used, or has `ended`."""
        while not (ended.done() or time.monotonic() > self.deadline):
            try:
                await self._clients[tenant].complete(token, value, timeout_s=self._left())
                return True
            except Rejected:
                return False
            except (TroupeError, TimeoutError):
                await asyncio.sleep(SAY_PAUSE_S)  # the run has ended; or the stream is full, until there is room
        return False

    async def delete(self, entry: Entry) -> Entry:
        """Deletes an actor, once it does nothing. `unknown` when nobody answered within DELETE_S."""
        self.record.entries.append(entry)
        entry.sent_at, started = time.time(), time.monotonic()
        entry.outcome = "unknown"
        address = address_of(entry.actor)
        while time.monotonic() < started + DELETE_S:
            try:
                deleted = await self._clients[address.tenant].delete(
                    address.kind, address.key, by="chaos", timeout_s=DELETE_S
                )
            except Rejected as error:  # a repeat of its last command is being answered
                entry.error = str(error)
                await asyncio.sleep(SAY_PAUSE_S)
                continue
            except (TroupeError, TimeoutError) as error:
                entry.error = str(error)
                break
            entry.outcome, entry.seq, entry.error = "done", deleted.seq, ""
            entry.waited_s = time.monotonic() - started
            self.told[entry.actor] = max(self.told[entry.actor], entry.seq)
            break
        return entry

    async def repeat(self, entry: Entry) -> None:
        """Asks an addition again whose actor was deleted since, which must be told so."""
        try:
            reply = await self._call(entry, msgspec.json.encode({"amount": entry.amount}))
        except (TroupeError, TimeoutError) as error:
            entry.outcome, entry.error = "stuck", f"asked again in another life: {error}"
            return
        if reply.error is None or reply.error.code != "deleted":
            found = f"command {entry.id} was deleted with its actor, and asked again was answered {reply}"
            self.record.misordered.append((entry.actor, found))

    async def query(self, actor: str, name: str) -> bytes | None:
        """What an actor answers to a query, as JSON; None when nobody answered."""
        tenant, kind, key = address_of(actor)
        with contextlib.suppress(TroupeError):
            reply = await self._clients[tenant].read(kind, key, name, b"", timeout_s=min(LOOK_TIMEOUT_S, self._left()))
            return None if reply.error is not None else reply.result
        return None

    async def look(self, actor: str, caller: str) -> Look | None:
        """Asks a counter for its state; None when nobody answered."""
        address = address_of(actor)
        at_least, asked_at = self.told[actor], time.time()
        with contextlib.suppress(TroupeError):
            reply = await self._clients[address.tenant].read(
                address.kind, address.key, "look", b"", timeout_s=min(LOOK_TIMEOUT_S, self._left())
            )
            if reply.error is None:
                value, pid = _look.decode(reply.result)
                look = Look(actor, caller, at_least, reply.seq, value, pid, asked_at, time.time())
                self.record.looks.append(look)
                self.told[actor] = max(self.told[actor], reply.seq)
                return look
        return None

    async def _ask_again(self, entry: Entry, body: bytes, id_: str, kept: Kept, *, named: bool) -> None:
        try:
            reply = await self._call(entry, body, id_, named=named)
        except (TroupeError, TimeoutError) as error:
            entry.outcome, entry.error = "stuck", f"asked again: {error}"
            return
        entry.again = (_of(reply, kept), reply.seq)

    async def _reuse(self, entry: Entry, args: dict[str, Any], id_: str, *, named: bool) -> None:
        """Sends the same id with another number or text, which must be refused."""
        body = msgspec.json.encode({
            name: value + 1 if isinstance(value, (int, float)) else f"{value} " if name == "text" else value
            for name, value in args.items()
        })  # fmt: skip
        try:
            reply = await self._call(entry, body, id_, named=named)
        except (TroupeError, TimeoutError) as error:
            entry.outcome, entry.error = "stuck", f"sent with other arguments: {error}"
            return
        entry.reused = reply.error.code if reply.error is not None else "taken"

    def _call(self, entry: Entry, body: bytes, id_: str = "", *, named: bool = False) -> Awaitable[Reply]:
        address, timeout_s, id_ = address_of(entry.actor), self._left(), id_ or entry.id
        session, method = entry.session.rpartition("/")[2], _WIRE.get(entry.method, entry.method)
        if entry.via == "raw":
            return self._raw.call(address, method, body, id_, timeout_s, session)
        if entry.via == "http":
            return self._web.call(address, method, body, id_, timeout_s, session, as_header=named)
        tenant, kind, key = address
        given = session or entry.run_timeout_s
        envelope = Envelope(session=session or None, run_timeout_s=entry.run_timeout_s) if given else PLAIN
        return self._by_client(
            lambda left_s: self._clients[tenant].call(
                kind, key, method, body, id=id_, timeout_s=left_s, envelope=envelope
            )
        )

    async def _by_client(self, call: Callable[[float], Awaitable[Reply]]) -> Reply:
        """A call that is refused because the stream is full is made again, under its id, until there is room."""
        while True:
            try:
                return await call(self._left())
            except CallFailed as error:
                if error.code != "stream_full" or time.monotonic() > self.deadline:
                    raise
            await asyncio.sleep(FULL_PAUSE_S)

    def _left(self) -> float:
        return max(self.deadline - time.monotonic(), 0.1)


def _of(reply: Reply, kept: Kept) -> int | None:
    """What is kept of a repeat's answer; None of a refusal."""
    return None if reply.error is not None else kept(reply.result)


def _in_time(call: Callable[..., Awaitable[Reply]], id: str, left_s: float) -> Awaitable[Reply]:
    return call(id=id, timeout_s=left_s)


def entry_of(actor: str, number: int, method: str, amount: int, *, via: Via, session: str, target: str = "") -> Entry:
    """An entry that is about to be sent; its id follows from the actor's key and the number."""
    tenant, _, key = address_of(actor)
    return Entry(
        actor, f"{key}-{number}", method, amount, target, time.time(), via, f"{tenant}/{session}" if session else ""
    )
