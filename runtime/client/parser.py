"""Reading NATS's wire protocol, fast for what comes by the ten thousand: whole messages.

nats-py matches up to seven regular expressions a message and copies its buffer for each; this reads the messages of one
chunk with one scan, and leaves every other protocol line to nats-py's own parser. What the socket brings is scanned
where it comes in; nats-py's stream reader and its task, a turn of the loop later, get what that leaves.
"""

from __future__ import annotations

import asyncio
from typing import Any

from nats.protocol.parser import Parser

_Message = tuple[int, bytes, bytes, bytes, bytes]
"""Subscription, subject, reply, body, header block."""


class MessageParser(Parser):
    """nats-py's parser with a fast path for MSG and HMSG."""

    nc: Any
    _parsing = False
    _stopped_at: tuple[_Message, int] | None = None
    """The message that begins what `_take` gave, which has no direct subscription, and its size; None for a line."""

    def read_from(self, reader: asyncio.StreamReader) -> None:
        """Has what a connection brings scanned as it comes in; `parse` gets what that leaves, through the reader."""
        feed = reader.feed_data

        def feed_data(data: bytes) -> None:
            # What waits in the reader, or is being parsed, comes first.
            if self._parsing or reader._buffer or not self.nc.is_connected:  # type: ignore[attr-defined]  # StreamReader's
                feed(data)
            elif rest := self._take(data):
                feed(rest)

        reader.feed_data = feed_data  # type: ignore[assignment,method-assign]  # asyncio's protocol calls it for each chunk

    async def parse(self, data: bytes = b"") -> None:
        """Parses what came in; keeps an incomplete rest for the next call."""
        self._parsing = True
        try:
            rest = self._take(data)
            while rest:
                rest = self._take(await self._first(rest))
        finally:
            self._parsing = False

    def _take(self, data: bytes) -> bytes:
        """Hands over the direct messages; keeps an incomplete one, and gives what begins with anything else."""
        buffer = bytes(self.buf) + data if self.buf else data
        self.buf.clear()
        position, size = 0, len(buffer)
        while position < size:
            end = buffer.find(b"\r\n", position)
            if end < 0:
                break
            start = end + 2
            try:
                # At spaces only: a subject may hold any other byte, also those that Python takes for white space.
                if buffer.startswith(b"HMSG ", position):
                    fields = buffer[position + 5 : end].split(b" ")
                    header_end = start + int(fields[-2])
                    reply = fields[2] if len(fields) == 5 else b""
                elif buffer.startswith(b"MSG ", position):
                    fields = buffer[position + 4 : end].split(b" ")
                    header_end = start
                    reply = fields[2] if len(fields) == 4 else b""
                else:
                    self._stopped_at = None
                    return buffer[position:]
                sid, stop = int(fields[1]), start + int(fields[-1])
            except (ValueError, IndexError):
                self._stopped_at = None  # nats-py says what is wrong with the line, and connects anew
                return buffer[position:]
            if stop + 2 > size:
                break
            body, block = buffer[header_end:stop], buffer[start:header_end]
            if not self.nc.receive_direct(sid, fields[0], reply, body, block):
                self._stopped_at = (sid, fields[0], reply, body, block), stop + 2 - position
                return buffer[position:]
            position = stop + 2
        if position < size:
            self.buf.extend(buffer[position:])
        return b""

    async def _first(self, buffer: bytes) -> bytes:
        """Has nats-py deal with what `_take` stopped at, the first of `buffer`; gives what follows it."""
        if self._stopped_at is not None:
            message, size = self._stopped_at
            await self.nc._process_msg(*message)
            return buffer[size:]
        size = buffer.find(b"\r\n") + 2
        self.buf.extend(buffer[:size])
        await super().parse()
        return buffer[size:]
