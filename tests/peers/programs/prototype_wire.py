"""What the prototype's callers and its actor process say to each other."""

from __future__ import annotations

import msgspec

STREAM = "PROTOTYPE"
SUBJECT = "prototype.commands"


class Command(msgspec.Struct, array_like=True):
    """Adds to a counter."""

    id: str
    key: str
    reply_to: str
    amount: int


class Reply(msgspec.Struct, array_like=True):
    """The counter's new value, and how many events it has."""

    id: str
    value: int
    seq: int


class Added(msgspec.Struct, array_like=True):
    """The event."""

    amount: int
    value: int
    command_id: str


encode = msgspec.msgpack.Encoder().encode
command_of = msgspec.msgpack.Decoder(Command).decode
replies_of = msgspec.msgpack.Decoder(list[Reply]).decode
