"""Reading NATS's wire protocol, fast for what comes by the ten thousand: whole messages.

nats-py matches up to seven regular expressions a message and copies its buffer for each; this reads the messages of one
chunk with one scan, and leaves every other protocol line to nats-py's own parser.
"""

from __future__ import annotations

from typing import Any

from nats.protocol.parser import Parser


class MessageParser(Parser):
    """nats-py's parser with a fast path for MSG and HMSG."""

    nc: Any

    async def parse(self, data: bytes = b"") -> None:
        """Parses what came in; keeps an incomplete rest for the next call."""
        buffer = bytes(self.buf) + data if self.buf else data
        self.buf.clear()
        position, size = 0, len(buffer)
        while position < size:
            end = buffer.find(b"\r\n", position)
            if end < 0:
                break
            start = end + 2
            if buffer.startswith(b"HMSG ", position):
                # At spaces only: a subject may hold any other byte, also those that Python takes for white space.
                fields = buffer[position + 5 : end].split(b" ")
                header_end = start + int(fields[-2])
                stop = start + int(fields[-1])
                headed = True
            elif buffer.startswith(b"MSG ", position):
                fields = buffer[position + 4 : end].split(b" ")
                header_end = start
                stop = start + int(fields[-1])
                headed = False
            else:
                self.buf.extend(buffer[position:start])
                await super().parse()
                position = start
                continue
            if stop + 2 > size:
                break
            reply = fields[2] if len(fields) == (5 if headed else 4) else b""
            block = buffer[start:header_end] if headed else b""
            sid, body = int(fields[1]), buffer[header_end:stop]
            if not self.nc.receive_direct(sid, fields[0], reply, body, block):
                await self.nc._process_msg(sid, fields[0], reply, body, block)
            position = stop + 2
        if position < size:
            self.buf.extend(buffer[position:])
