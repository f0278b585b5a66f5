"""What a socket brings, in whatever pieces: every message once and in order, direct ones as they come in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.errors import ProtocolError

from runtime.client.parser import MessageParser

pytestmark = pytest.mark.anyio

DIRECT, PLAIN = 1, 2
_PIECES = st.sampled_from([
    b"MSG a 1 5\r\nhello\r\n",
    b"MSG a\tb 1 reply.to 7\r\nMSG a 1\r\n",
    b"HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
    b"HMSG a 1 reply 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    b"MSG b 2 3\r\none\r\n",
    b"HMSG b 2 reply 12 15\r\nNATS/1.0\r\n\r\ntwo\r\n",
    b"PING\r\n",
    b"+OK\r\n",
])  # fmt: skip


class Receiver:
    """Who the parser tells. What is not direct takes some turns of the loop."""

    def __init__(self) -> None:
        self.is_connected = True
        self.heard: list[Any] = []

    def receive_direct(self, sid: int, *message: bytes) -> bool:
        if sid != DIRECT:
            return False
        self.heard.append(message)
        return True

    async def _process_msg(self, sid: int, *message: bytes) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        self.heard.append(message)

    async def _process_ping(self) -> None:
        await asyncio.sleep(0)
        self.heard.append("ping")


async def _heard(chunks: list[bytes], turns: list[int], *, at_once: bool) -> list[Any]:
    receiver = Receiver()
    parser, reader = MessageParser(receiver), asyncio.StreamReader()

    async def read() -> None:
        while not reader.at_eof():
            await parser.parse(await reader.read(32_768))

    if at_once:
        parser.read_from(reader)
    reading = asyncio.ensure_future(read())
    for chunk, wait in zip(chunks, turns, strict=True):
        reader.feed_data(chunk)
        for _ in range(wait):
            await asyncio.sleep(0)
    reader.feed_eof()
    async with asyncio.timeout(60):
        await reading
    assert not parser.buf
    return receiver.heard


@settings(max_examples=60, deadline=None)
@given(st.lists(_PIECES, min_size=1, max_size=12), st.data())
def test_given_messages_in_any_pieces_then_each_is_heard_once_and_in_order(pieces: list[bytes], data: Any) -> None:
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=6)))
    chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    turns = data.draw(st.lists(st.integers(0, 4), min_size=len(chunks), max_size=len(chunks)))
    expected = asyncio.run(_heard([whole], [0], at_once=False))
    assert len(expected) == sum(piece != b"+OK\r\n" for piece in pieces)
    assert asyncio.run(_heard(chunks, turns, at_once=True)) == expected


async def test_given_a_direct_message_then_it_is_heard_when_it_comes_in() -> None:
    receiver, reader = Receiver(), asyncio.StreamReader()
    MessageParser(receiver).read_from(reader)
    reader.feed_data(b"MSG a 1 re 5\r\nhello\r\nMSG a 1 5\r\nwo")
    assert receiver.heard == [(b"a", b"re", b"hello", b"")]
    reader.feed_data(b"rld\r\n")
    assert receiver.heard[1:] == [(b"a", b"", b"world", b"")]


async def test_given_a_connection_that_is_made_anew_then_nothing_is_heard_past_the_read_loop() -> None:
    receiver, reader = Receiver(), asyncio.StreamReader()
    parser = MessageParser(receiver)
    parser.read_from(reader)
    receiver.is_connected = False
    reader.feed_data(b"MSG a 1 5\r\nhello\r\n")
    assert receiver.heard == []
    await parser.parse(await reader.read(100))
    assert receiver.heard == [(b"a", b"", b"hello", b"")]


@pytest.mark.parametrize("line", [b"MSG a one 5", b"MSG a", b"HMSG a 1 x 5", b"nonsense"])
async def test_given_a_line_that_is_none_then_the_read_loop_hears_of_it(line: bytes) -> None:
    receiver, reader = Receiver(), asyncio.StreamReader()
    parser = MessageParser(receiver)
    parser.read_from(reader)
    reader.feed_data(b"MSG a 1 2\r\nhi\r\n" + line + b"\r\n")
    assert receiver.heard == [(b"a", b"", b"hi", b"")]
    with pytest.raises(ProtocolError):
        await parser.parse(await reader.read(100))
