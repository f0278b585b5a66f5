"""Answering reads on core NATS: `q.<partition>.<tenant>.<kind>.<key>.<method>`, at the lane's owner.

A query is answered from committed state, and only while this pod's lease says that nobody else can have committed
since. Methods that begin with '$' are the engine's own: $result (what became of a command), $describe, and $order (a
person's pause, resume, skip, replay, drop).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Protocol

import msgspec

from runtime.arguments import InvalidArguments, encode_json
from runtime.client.connection import parse_headers
from runtime.errors import CallFailed, Rejected, UnreadableEvent
from runtime.failure import failure_of, text_of
from runtime.host.answers import Refused, Send, encode_reply, wants_msgpack
from runtime.host.command import Command
from runtime.host.desk import FULL, Desk
from runtime.host.inquiries import Readings
from runtime.host.items import Item, Order, Touch
from runtime.host.lane import Activations, Lane
from runtime.host.outcomes import Outcomes, OutcomeSource, ResultQuestion
from runtime.host.ports import LogRefused, LogTimedOut, LogUnavailable
from runtime.host.threads import Threads
from runtime.host.turn_thread import StuckInHandler
from runtime.kind import Inquiry, Kind, Read
from runtime.turn import Turn
from schemas import headers as names
from schemas.address import Address, BadAddress, actor_id, decode_token, encode_token
from schemas.wire import Failure

_log = logging.getLogger("troupe.reads")

SLOW_AT_ONCE = 16
"""Threads for queries that were slow before; more of these wait."""

class OrderQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments of $order."""

    what: str
    by: str | None = None
    reason: str = ""
    dead_letter: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    force: bool = False


class ReadSource(OutcomeSource, Protocol):
    """What reads need of the log beside the activations; see runtime.postgres.reading.PostgresReader."""

    async def describe(self, actor: str) -> dict[str, Any]: ...
    async def dead_letter(self, id: int, tenant: str) -> dict[str, Any] | None: ...
    async def erase(self, actor: str, partition: int, seq: int) -> int: ...
    async def segments_of(self, actor: str) -> list[dict[str, Any]]: ...


class Reads:
    """The reads of a pod's lanes. `fetch` gives an object of the broker's; `send` publishes a reply."""

    def __init__(
        self,
        kinds: Mapping[str, Kind],
        activations: Activations,
        lane_of: Callable[[int], Lane | None],
        valid: Callable[[], bool],
        put: Callable[[Item], None],
        source: ReadSource,
        post: Callable[[str, bytes], None],
        now: Callable[[], float],
        fetch: Callable[[str], Awaitable[bytes]],
        send: Send,
        handler_timeout_s: float,
        threads: Threads,
        settled: Callable[[], Awaitable[None]],
        readings: Readings,
    ) -> None:
        self._kinds = kinds
        self._handler_timeout_s = handler_timeout_s
        self._activations = activations
        self._lane_of = lane_of
        self._valid = valid
        self._put = put
        self._source = source
        self._post = post
        self._now = now
        self._fetch = fetch
        self._send = send
        self._threads = threads
        self._readings = readings
        self._thread = threads.turns()
        self._turn = asyncio.Lock()
        self._desk = Desk()
        self._slow_slots = asyncio.Semaphore(SLOW_AT_ONCE)
        self._slow: set[tuple[str, str]] = set()
        self.outcomes = Outcomes(source, settled)

    def on_message(self, subject: str, reply: str, body: bytes, block: bytes) -> None:
        """Receives a query."""
        if reply:
            headers = parse_headers(block)
            if self._desk.full:
                self._post(reply, encode_reply(headers.get(names.ID, ""), 0, b"null", FULL))
            else:
                self._desk.serve(self._serve(subject, reply, body, headers))

    def close(self) -> None:
        """Ends the thread and what is being answered."""
        self._thread.close()
        self._desk.close()

    async def _serve(self, subject: str, reply: str, body: bytes, headers: dict[str, str]) -> None:
        packed = wants_msgpack(headers.get(names.CONTENT_TYPE))
        id_ = headers.get(names.ID, "")
        try:
            result, seq = await self._answer(subject, body, headers)
            answer = encode_reply(id_, seq, result, None, packed=packed)
        except Refused as refused:
            answer = encode_reply(id_, 0, b"null", refused.failure, packed=packed)
        except (LogUnavailable, LogRefused, UnreadableEvent) as error:
            code = _code_of(error)
            answer = encode_reply(id_, 0, b"null", Failure(code, str(error)), packed=packed)
        except Exception as error:
            _log.exception("a read on %s failed", subject)
            failure = Failure("handler_failed", text_of(error))
            answer = encode_reply(id_, 0, b"null", failure, packed=packed)
        self._send(reply, answer, id_, packed=packed)

    async def _answer(self, subject: str, body: bytes, headers: dict[str, str]) -> tuple[bytes, int]:
        _, partition, tenant, kind_name, token, method_name = subject.split(".")
        lane = self._lane_of(int(partition))
        if lane is None or not lane.alive or not self._valid():
            raise Refused("unavailable", f"this pod does not own partition {partition} for sure: ask again")
        kind = self._kinds.get(kind_name)
        if kind is None:
            raise Refused("unknown_kind", f"no pod serves kind {kind_name!r}")
        try:
            address = Address(tenant, kind_name, decode_token(token))
        except BadAddress as error:
            raise Refused("bad_address", str(error)) from error
        actor = actor_id(tenant, kind_name, token)
        if method_name.startswith("$"):
            return await self._own(method_name, lane, actor, address, kind, body), 0
        method = kind.methods.get(method_name)
        if not isinstance(method, Read):
            known = ", ".join(sorted(name for name, one in kind.methods.items() if isinstance(one, Read))) or "none"
            raise Refused("unknown_method", f"kind {kind_name!r} has no query {method_name!r}; it has {known}")
        try:
            payload = method.arguments.decode(body, headers.get(names.CONTENT_TYPE))
        except InvalidArguments as error:
            raise Refused("invalid_arguments", f"{address}.{method_name}: {error}", error.path) from error
        state, seq = await self._state(lane, actor, address)
        return await self._read(method, kind, state, payload, Turn(address, "", seq, self._now(), headers=headers)), seq

    async def _state(self, lane: Lane, actor: str, address: Address) -> tuple[Any, int]:
        """The actor's committed state: from memory, or through the commit pipeline, which loads it under the fence."""
        active = self._activations.get(actor)
        if active is not None and active.lane is lane:
            if active.unreadable is not None:
                raise active.unreadable
            return active.state, active.seq
        answered: asyncio.Future[tuple[Any, int]] = asyncio.get_running_loop().create_future()
        self._put(Touch(lane, actor, address, answered))
        return await answered

    async def _read(self, method: Read, kind: Kind, state: Any, payload: Any, turn: Turn) -> bytes:
        """Runs a read handler in a thread: it must not hold up the loop, nor, once it was slow, the other reads."""
        if isinstance(method, Inquiry):
            return await self._inquire(method, kind, state, payload, turn)
        outcome: list[bytes] = []
        failed: list[BaseException] = []

        def job() -> None:
            try:
                outcome.append(method.read(state, payload, turn))
            except BaseException as error:
                failed.append(error)

        if (kind.name, method.name) in self._slow:
            await self._run_slow(job, f"{turn.address}.{method.name}")
        else:
            try:
                async with self._turn:
                    await self._thread.run(job)
            except StuckInHandler:
                self._slow.add((kind.name, method.name))
                _log.warning("query %s.%s blocks: it runs in a thread of its own from now on", kind.name, method.name)
                return await self._read(method, kind, state, payload, turn)
        if failed:
            failure = failure_of(failed[0], f"{turn.address}.{method.name}")
            raise Refused(failure.code, failure.message) from failed[0]
        return outcome[0]

    async def _inquire(self, method: Inquiry, kind: Kind, state: Any, payload: Any, turn: Turn) -> bytes:
        try:
            async with asyncio.timeout(self._handler_timeout_s):
                return await self._readings.answer(method, kind, state, payload, turn)
        except TimeoutError:
            name = f"{turn.address}.{method.name}"
            raise Refused("timeout", f"{name} did not return within {self._handler_timeout_s:g} s") from None
        except (LogUnavailable, LogRefused, UnreadableEvent):
            raise
        except Exception as error:
            failure = failure_of(error, f"{turn.address}.{method.name}")
            raise Refused(failure.code, failure.message) from error

    async def _run_slow(self, job: Callable[[], None], name: str) -> None:
        async with self._slow_slots:
            thread = self._threads.turns()
            try:
                await thread.run(job, self._handler_timeout_s)
            except StuckInHandler:
                raise Refused("timeout", f"{name} did not return within {self._handler_timeout_s:g} s") from None
            finally:
                thread.close()

    # -- the engine's own -----------------------------------------------------------------------------------------

    async def _own(self, name: str, lane: Lane, actor: str, address: Address, kind: Kind, body: bytes) -> bytes:
        if name == "$result":
            return encode_json(await self.outcomes.of(actor, _decode(body, ResultQuestion)))
        if name == "$describe":
            return encode_json(await self._describe(lane, actor, address, kind))
        if name == "$order":
            return encode_json(await self._order(lane, actor, address, _decode(body, OrderQuestion)))
        raise Refused("unknown_method", f"there is no {name}")

    async def _describe(self, lane: Lane, actor: str, address: Address, kind: Kind) -> dict[str, Any]:
        described: dict[str, Any] = {"address": address._asdict(), "actor": actor}
        described |= {"lane": lane.lane, "epoch": lane.epoch}
        try:
            state, seq = await self._state(lane, actor, address)
            described |= {"seq": seq, "state": msgspec.Raw(kind.encode_state(state)), "fold_version": kind.fold_version}
        except UnreadableEvent as error:
            described["unreadable"] = str(error)
        beside = await self._source.describe(actor)
        # The oldest of those that hold the key: it runs, waits for its next attempt, or is the next to go on.
        beside["held_by"] = next((row for row in beside["pending"] if row["holds"]), None)
        if beside["snapshot"]:
            beside["snapshot"].pop("state")
        return described | {"active": self._activations.get(actor) is not None} | beside

    async def _order(self, lane: Lane, actor: str, address: Address, question: OrderQuestion) -> Any:
        if question.what not in ("pause", "resume", "skip", "replay", "drop", "delete"):
            text = f"there is no order {question.what!r}: pause, resume, skip, replay, drop or delete"
            raise Refused("invalid_arguments", text, "$.what")
        for name, value in (("by", question.by), ("reason", question.reason)):
            if value and "\0" in value:
                raise Refused("invalid_arguments", f"{name} holds a NUL, which the log cannot keep", f"$.{name}")
        command = None
        if question.what in ("replay", "drop"):
            command = await self._parked(lane, address, question)
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        order = Order(
            lane,
            actor,
            address,
            question.what,  # type: ignore[arg-type]  # it was checked above
            question.by,
            question.reason,
            answered,
            question.dead_letter,
            command,
            question.force,
        )
        archived = await self._source.segments_of(actor) if order.what == "delete" else []
        self._put(order)
        try:
            answer = await answered
            if order.what == "delete":
                # The deletion is committed, and if this is cut off, housekeeping goes on with it.
                answer["events"] = await self._source.erase(actor, lane.partition, answer["seq"])
                answer["archived"] = archived
            return answer
        except Rejected as error:
            raise Refused("rejected", str(error)) from error

    async def _parked(self, lane: Lane, address: Address, question: OrderQuestion) -> Command:
        """The command of a dead letter, with its body."""
        number = question.dead_letter
        row = await self._source.dead_letter(number, address.tenant)
        if row is None or (row["kind"], row["key"]) != (address.kind, address.key):
            raise Refused("not_found", f"{address} has no dead letter {number}")
        if row["status"] != "parked":
            raise Refused("rejected", f"dead letter {number} was {row['status']} already")
        headers = msgspec.json.decode(row["headers"], type=dict[str, str])
        for passed in (names.DEADLINE, names.FIRST_AT, names.QUEUE_UNTIL, names.RUN_UNTIL):
            headers.pop(passed, None)  # it has passed, and a person wants it done now
        body = row["body"]
        if question.what == "replay" and (name := headers.pop(names.OBJECT, None)) is not None:
            try:
                body = await self._fetch(name)
            except CallFailed as error:
                if error.code != "not_found":
                    raise Refused(error.code, str(error)) from error
                text = (
                    f"the body of dead letter {number} lay in the object store under {name!r}, where it is kept for a "
                    "day, and is gone: drop the letter, and send the command anew"
                )
                raise Refused("not_found", text) from error
        command = Command(lane, address, encode_token(address.key), row["method"], headers, body)
        command.id = row["command_id"]
        return command


def _code_of(error: LogUnavailable | LogRefused | UnreadableEvent) -> str:
    if isinstance(error, UnreadableEvent):
        return "unreadable_log"
    return "unavailable" if isinstance(error, (LogUnavailable, LogTimedOut)) else "rejected"


def _decode(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise Refused("invalid_arguments", str(error)) from error
