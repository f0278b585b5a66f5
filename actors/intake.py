"""The intake: every intent said on `intent.<tenant>.<session>` becomes a command, once.

    stream INTENT ─ lane 0…15, one intent in flight each ─► command ─► stream CMD acknowledges ─► the intent is deleted

Promises: an intent is deleted only after CMD (or, when it is malformed, the session's stream in EV) has acknowledged
what it became; a redelivery publishes the same id again, which the actor answers without doing it twice; a session's
intents become commands in the order the broker stored them, however many intakes run, since the consumer of its lane
lets one be in flight at a time. So a lane waits behind an intent that cannot be stored now (CMD is full).

`python -m actors.intake` runs one. Any number may run, and none holds anything that its death would lose.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import msgspec
from faststream import AckPolicy
from faststream.nats import AckPolicy as JetStreamAckPolicy
from faststream.nats import ConsumerConfig, JStream, NatsBroker, NatsMessage, PullSub

from actors.broker import SturdyBroker
from actors.intents import Derived, Malformed, Said, agent_of, command_of, refusal_of
from actors.lanes import Lanes, name_of
from runtime import telemetry as telemetries
from runtime.client import Connection, connect, tracing
from runtime.client.client import DEFAULT_URL
from runtime.client.inbox import Inbox, NoResponders
from runtime.client.store import store
from runtime.clock import Clock, system_clock
from runtime.errors import CallFailed, Misconfigured, NotConnected
from runtime.telemetry import logs
from schemas.errors import CODES
from schemas.headers import TRACEPARENT
from schemas.subjects import INTENT_LANES, INTENT_STREAM
from schemas.wire import Capability, Failure, Reply

_log = logging.getLogger("troupe.intake")

ATTEMPT_S = 2.0
ACK_WAIT_S = 5.0
MAX_DELIVERIES = 3
"""An intent that nobody settled in so many deliveries is handed out by Lanes.left_behind."""

FETCH_S = 5.0
WATCH_S = 2.0
RETRY_S = 0.5


class Relay:
    """Turns intents into commands that the broker has stored."""

    def __init__(self, connection: Connection, inbox: Inbox, clock: Clock = system_clock) -> None:
        self._connection = connection
        self._inbox = inbox
        self._clock = clock

    async def relay(self, said: Said, waiting: Callable[[], Awaitable[None]]) -> None:
        """Returns once the broker has stored what the intent becomes, whenever that is.

        `waiting` is awaited before each further attempt. A malformed intent becomes an error in its session's stream.
        """
        if tracing.active is None:
            await self._settle(said, waiting)
            return
        subject = f"intent.{'.'.join(said.subject.split('.')[-2:])}"
        with tracing.active.span("publish", subject, said.own_id, said.headers) as span:
            await self._settle(said._replace(headers={**said.headers, TRACEPARENT: span.traceparent}), waiting)

    async def _settle(self, said: Said, waiting: Callable[[], Awaitable[None]]) -> None:
        derived = self._derive(said)
        agent = agent_of(said)
        if agent is not None and not await self._served(agent):
            text = f"no pod serves the agent {agent!r}: name another one, or none for the router to pick one"
            derived = self._refuse(said, Malformed(Failure("unknown_kind", text)))
        while True:
            try:
                await store(
                    self._connection, self._inbox, derived.subject, derived.body, derived.header_block,
                    id=derived.id, timeout_s=ATTEMPT_S,
                )  # fmt: skip
                return
            except NotConnected as error:
                _log.warning("%s waits: %s", said.own_id, error)
            except CallFailed as error:
                if error.code == "timeout" or CODES[error.code].retryable:
                    _log.warning("%s waits: %s", said.own_id, error)
                else:
                    derived = self._refuse(said, Malformed(Failure(error.code, str(error))))
            await waiting()
            await asyncio.sleep(RETRY_S)

    def _derive(self, said: Said) -> Derived:
        limit = self._connection.max_payload
        try:
            derived = command_of(said)
            size = len(derived.header_block) + len(derived.body)
            if size > limit:
                text = f"the command has {size} bytes and a message {limit} at most: send it as a command"
                raise Malformed(Failure("too_large", text))
        except Malformed as malformed:
            return self._refuse(said, malformed)
        return derived

    async def _served(self, agent: str) -> bool:
        """Whether there is a kind of that name; True as well when no pod can be asked now."""
        try:
            answer = await self._inbox.request("svc.capabilities", b"{}", b"", timeout_s=ATTEMPT_S)
            known = msgspec.json.decode(msgspec.json.decode(answer, type=Reply).result, type=list[Capability])
        except (NoResponders, TimeoutError, NotConnected, msgspec.MsgspecError):
            return True
        return any(one.kind == agent for one in known)

    def _refuse(self, said: Said, malformed: Malformed) -> Derived:
        _log.warning("%s on %s is refused: %s", said.own_id, said.subject, malformed)
        return refusal_of(said, malformed, self._clock.now())


def broker_of(nats_url: str, relay: Relay) -> NatsBroker:
    """A FastStream broker whose subscribers are the lanes of the intake."""
    # Without dependency injection, which costs more than all the rest: what is "decoded" is the message itself.
    options = {"graceful_timeout": ATTEMPT_S, "decoder": _whole, "apply_types": False}
    broker = SturdyBroker(nats_url, "troupe intake", _log, **options)

    async def take(message: NatsMessage) -> None:
        raw = message.raw_message
        place = raw.reply.split(".")  # …<stream seq>.<consumer seq>.<ns>.<pending>
        await relay.relay(
            Said(raw.subject, raw.headers or {}, raw.data, int(place[-4]), int(place[-2])), message.in_progress
        )
        await message.ack()

    for lane in range(INTENT_LANES):
        config = ConsumerConfig(
            ack_policy=JetStreamAckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=1,
            max_deliver=MAX_DELIVERIES,
        )
        # `no_reply`: else FastStream would publish to whatever subject an intent's `reply_to` header names.
        broker.subscriber(
            f"i.{lane}.*.*",
            stream=JStream(INTENT_STREAM, declare=False),
            durable=name_of(lane),
            config=config,
            pull_sub=PullSub(batch_size=1, timeout=FETCH_S),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            include_in_schema=False,
        )(take)
    return broker


async def serve(nats_url: str, stop: asyncio.Event, *, ready: Callable[[], None] = lambda: None) -> None:
    """Runs an intake until `stop` is set; `ready` is called when it takes intents. Waits for what is not there yet."""
    connection = await _connected(nats_url, stop)
    if connection is None:
        return
    inbox = Inbox(connection, "troupe-intake", system_clock.token(8), _ignore)
    await inbox.open()
    relay, lanes = Relay(connection, inbox), Lanes(inbox)
    try:
        while not stop.is_set():
            broker = broker_of(nats_url, relay)
            try:
                if await lanes.exist():
                    await broker.start()
                    ready()
                    await _watch(lanes, relay, stop)
                else:
                    _log.warning("there is no stream %s yet: start a pod, which makes it", INTENT_STREAM)
            except Exception:  # noqa: BLE001  # whatever the broker refuses now may be granted when it has recovered
                _log.warning("the intake starts anew", exc_info=True)
            finally:
                await broker.stop()
            await _wait(stop, RETRY_S)
    finally:
        await connection.close()


async def _watch(lanes: Lanes, relay: Relay, stop: asyncio.Event) -> None:
    """Returns when `stop` is set, or when the lanes' consumers are gone: the stream was made anew."""
    while not await _wait(stop, WATCH_S):
        try:
            if not await lanes.intact():
                _log.warning("stream %s has lost its consumers: they are made anew", INTENT_STREAM)
                return
            for said in await lanes.left_behind():
                _log.warning("%s on %s was left behind by its consumer", said.own_id, said.subject)
                await relay.relay(said, _no_wait)
                await lanes.delete(said)
        except (NoResponders, TimeoutError, NotConnected) as error:
            _log.warning("stream %s cannot be looked at now: %r", INTENT_STREAM, error)


async def _connected(nats_url: str, stop: asyncio.Event) -> Connection | None:
    while not stop.is_set():
        try:
            return await connect(nats_url, name="troupe intake")
        except NotConnected as error:
            _log.warning("the intake cannot start yet: %s", error)
        await _wait(stop, RETRY_S)
    return None


async def _wait(stop: asyncio.Event, timeout_s: float) -> bool:
    """Whether `stop` is set, after at most `timeout_s` seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            await stop.wait()
    except TimeoutError:
        return False
    return True


async def _whole(message: NatsMessage) -> NatsMessage:
    """The message itself instead of its body: FastStream would settle a message that it cannot decode."""
    return message


async def _no_wait() -> None:
    return None


def _ignore(_: bytes) -> None:
    return None


def until_stopped() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _run() -> None:
    url = os.environ.get("RUNTIME_NATS_URL") or DEFAULT_URL
    line = json.dumps({"intake": os.getpid()})
    telemetry = telemetries.from_environment("troupe-intake")
    await serve(url, until_stopped(), ready=lambda: print(line, flush=True))
    if telemetry is not None:
        await telemetry.close()


def main() -> int:
    """Runs an intake until SIGTERM or SIGINT; prints one line of JSON when it takes intents."""
    try:
        logs.configure()
        asyncio.run(_run())
    except Misconfigured as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
