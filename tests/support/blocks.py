"""The files of a JetStream stream, as a power cut leaves them: what was written last is gone.

A stream's messages lie in `<n>.blk` files, one record after the other: length (4 bytes, the highest bit says that there
are headers), sequence (8), time in Unix nanoseconds (8), length of the subject (2), subject, length of the headers (4,
if any), headers, body, checksum (8); little-endian. `index.db` beside them only says what they hold, and is written
anew from them when it is missing. (nats-server, server/filestore.go: msgHdrSize, writeMsgRecordLocked)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from runtime.client.connection import parse_headers
from schemas import headers as names

_HEAD = struct.Struct("<IQqH")
_HAS_HEADERS = 1 << 31
_SEQUENCE = (1 << 62) - 1
"""The two highest bits mark what was erased, and tombstones."""


class Stored(NamedTuple):
    """A message as it lies in a stream. `id` is its command id or "", `at_s` when it was stored (Unix seconds)."""

    subject: str
    sequence: int
    id: str
    at_s: float


class _Record(NamedTuple):
    offset: int
    end: int
    message: Stored
    live: bool


def messages_dir(store_dir: Path, stream: str) -> Path:
    """Where the blocks of a stream lie, for a server with one account and `store_dir` as its store."""
    return store_dir / "jetstream" / "$G" / "streams" / stream / "msgs"


def read(directory: Path) -> list[Stored]:
    """The messages that the blocks hold, in order."""
    return [record.message for block in blocks(directory) for record in _records(block) if record.live]


def take_last(directory: Path, since_s: float, torn_bytes: int = 0) -> list[Stored]:
    """Takes from the blocks everything from the first message on that was stored at or after `since_s`.

    `torn_bytes` of its record are left, as of a write that was under way. The server must not run. Gives what is gone.
    """
    gone: list[Stored] = []
    for block in blocks(directory):
        records = list(_records(block))
        if gone:
            gone += [record.message for record in records if record.live]
            block.unlink()
            continue
        first = next((n for n, record in enumerate(records) if record.live and record.message.at_s >= since_s), None)
        if first is None:
            continue
        gone += [record.message for record in records[first:] if record.live]
        place = records[first]
        with block.open("r+b") as file:
            file.truncate(min(place.offset + torn_bytes, place.end - 1))
    if gone:
        (directory / "index.db").unlink(missing_ok=True)
    return gone


def blocks(directory: Path) -> list[Path]:
    """The block files, oldest first."""
    return sorted(directory.glob("*.blk"), key=lambda path: int(path.stem))


def _records(block: Path) -> Iterator[_Record]:
    data = block.read_bytes()
    offset = 0
    while offset + _HEAD.size <= len(data):
        length, sequence, at_ns, subject_length = _HEAD.unpack_from(data, offset)
        with_headers, length = bool(length & _HAS_HEADERS), length & ~_HAS_HEADERS
        end = offset + length
        if length < _HEAD.size or end > len(data):
            return  # a torn record, where the server stops reading too
        place = offset + _HEAD.size
        subject = data[place : place + subject_length].decode("utf-8", "backslashreplace")
        place += subject_length
        id_ = ""
        if with_headers:
            (size,) = struct.unpack_from("<I", data, place)
            id_ = parse_headers(data[place + 4 : place + 4 + size]).get(names.ID, "")
        live = sequence == sequence & _SEQUENCE and subject_length > 0
        yield _Record(offset, end, Stored(subject, sequence & _SEQUENCE, id_, at_ns / 1e9), live)
        offset = end
