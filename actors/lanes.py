"""Stream INTENT as the broker sees it: are the lanes' consumers there, and did one leave an intent behind?

A consumer goes past an intent after its last delivery: one whose intakes died each time. Such an intent stays in the
stream, and is handed out here, so that it is settled like every other.
"""

from __future__ import annotations

import base64

import msgspec

from actors.intents import Said
from runtime.client.connection import parse_headers
from runtime.client.inbox import Inbox
from runtime.jetstream.reader import nanoseconds
from schemas.subjects import INTENT_LANES, INTENT_STREAM

API_TIMEOUT_S = 5.0


class _State(msgspec.Struct):
    messages: int


class _Stream(msgspec.Struct):
    state: _State | None = None


class _Place(msgspec.Struct):
    stream_seq: int = 0


class _Consumer(msgspec.Struct):
    name: str
    delivered: _Place
    num_pending: int = 0
    num_ack_pending: int = 0


class _Consumers(msgspec.Struct):
    consumers: list[_Consumer] = []


class _Message(msgspec.Struct):
    subject: str
    seq: int
    time: str
    data: str = ""
    hdrs: str = ""


class _Found(msgspec.Struct):
    message: _Message | None = None


class Lanes:
    """The lanes of INTENT, through one connection's inbox. Everything here raises NoResponders, TimeoutError or
    NotConnected when the broker does not answer."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def exist(self) -> bool:
        """Whether the stream does: pods make it."""
        return await self._messages() is not None

    async def intact(self) -> bool:
        """Whether each lane has its consumer."""
        names = {consumer.name for consumer in await self._consumers()}
        return all(name_of(lane) in names for lane in range(INTENT_LANES))

    async def left_behind(self) -> list[Said]:
        """The oldest intent of each lane that its consumer has gone past without anybody settling it."""
        messages = await self._messages()
        consumers = {consumer.name: consumer for consumer in await self._consumers()}
        expected = sum(consumer.num_pending + consumer.num_ack_pending for consumer in consumers.values())
        if messages is None or messages <= expected:
            return []
        found = []
        for lane in range(INTENT_LANES):
            consumer = consumers.get(name_of(lane))
            oldest = await self._oldest(lane)
            if consumer is not None and oldest is not None and _is_past(consumer, oldest.seq):
                found.append(_said(oldest))
        return found

    async def delete(self, said: Said) -> None:
        """Deletes an intent that is settled."""
        request = msgspec.json.encode({"seq": said.sequence, "no_erase": True})
        await self._ask(f"$JS.API.STREAM.MSG.DELETE.{INTENT_STREAM}", request)

    async def _messages(self) -> int | None:
        stream = msgspec.json.decode(await self._ask(f"$JS.API.STREAM.INFO.{INTENT_STREAM}", b""), type=_Stream)
        return None if stream.state is None else stream.state.messages

    async def _consumers(self) -> list[_Consumer]:
        answer = await self._ask(f"$JS.API.CONSUMER.LIST.{INTENT_STREAM}", b'{"offset":0}')
        return msgspec.json.decode(answer, type=_Consumers).consumers

    async def _oldest(self, lane: int) -> _Message | None:
        request = msgspec.json.encode({"seq": 1, "next_by_subj": f"i.{lane}.>"})
        answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{INTENT_STREAM}", request)
        return msgspec.json.decode(answer, type=_Found).message

    async def _ask(self, subject: str, request: bytes) -> bytes:
        return await self._inbox.request(subject, request, timeout_s=API_TIMEOUT_S)


def name_of(lane: int) -> str:
    """The name of a lane's consumer."""
    return f"intake-{lane}"


def _is_past(consumer: _Consumer, sequence: int) -> bool:
    delivered = consumer.delivered.stream_seq
    return sequence < delivered or (sequence == delivered and consumer.num_ack_pending == 0)


def _said(message: _Message) -> Said:
    headers = parse_headers(base64.b64decode(message.hdrs))
    body = base64.b64decode(message.data)
    return Said(message.subject, headers, body, message.seq, nanoseconds(message.time))
