"""A segment of the archive: old events of many actors of one lane and kind, in one file (docs/archive.md).

A file is gzip members one after the other, so `zcat` shows all of it as lines of JSON. The first member is the header:
what the file holds, and where each actor's block lies in it. Every other member is one block: a line that names the
actor, and a line an event. One actor's events can thus be read, checked, left out or replaced without touching others'.

The same events always give the same bytes, so that writing a segment again after a crash changes nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

FORMAT = "troupe-segment"
VERSION = 1
_LEVEL = 6


class BadSegment(ValueError):
    """The bytes are not what a segment must be."""


class SegmentEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event. `payload` is the text that was stored, as a JSON string: nothing of it changes, not even its spaces.

    `at` is RFC 3339 in UTC, always with six digits of the second, so that times compare as texts; `hash` is hex.
    """

    seq: int
    position: int
    type: str
    version: int
    epoch: int
    at: str
    command_id: str
    payload: str
    session: str | None = None
    causation_id: str | None = None
    correlation_id: str | None = None
    principal: str | None = None
    code_version: str | None = None
    key_id: str | None = None
    hash: str | None = None


class SegmentActor(msgspec.Struct, frozen=True):
    """The first line of a block. `actor` is the digest of tenant, kind and key, 32 hex digits."""

    actor: str
    tenant: str
    kind: str
    key: str


class Block(msgspec.Struct, frozen=True):
    """Where one actor's events lie. `offset` counts bytes from the end of the header's member."""

    actor: str
    tenant: str
    key: str
    first_seq: int
    last_seq: int
    offset: int
    length: int
    sha256: str


class Header(msgspec.Struct, frozen=True):
    """The first line of a segment. Positions and times are those of its first and last event in each order."""

    format: str
    version: int
    log_id: str
    lane: int
    partition: int
    kind: str
    events: int
    first_position: int
    last_position: int
    first_at: str
    last_at: str
    blocks: list[Block]


class ActorEvents(NamedTuple):
    """The events of one actor, by sequence and without a gap."""

    actor: SegmentActor
    events: Sequence[SegmentEvent]


class Segment(NamedTuple):
    """A segment as it is written: its header, its bytes, and where its first block begins."""

    header: Header
    data: bytes
    start: int

    @property
    def sha256(self) -> str:
        """The checksum of the whole file, hex."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def name(self) -> str:
        """Its name below the archive's URL. The same bytes have the same name, and no others."""
        header = self.header
        first, last = header.first_position, header.last_position
        return f"{header.log_id}/{header.lane}/{header.kind}-{first}-{last}-{self.sha256[:16]}.jsonl.gz"


_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(Header).decode
_decode_actor = msgspec.json.Decoder(SegmentActor).decode
_decode_event = msgspec.json.Decoder(SegmentEvent).decode


def encode_segment(log_id: str, lane: int, partition: int, kind: str, actors: Iterable[ActorEvents]) -> Segment:
    """The segment of these events; at least one actor, each with at least one event."""
    blocks: list[Block] = []
    bodies: list[bytes] = []
    offset = 0
    positions: list[int] = []
    times: list[str] = []
    for actor, events in actors:
        lines = [_encode(actor), *[_encode(event) for event in events]]
        body = gzip.compress(b"\n".join(lines) + b"\n", _LEVEL, mtime=0)
        first, last = events[0].seq, events[-1].seq
        assert last - first + 1 == len(events), f"{actor}: events {first} to {last} are {len(events)}"
        digest = hashlib.sha256(body).hexdigest()
        blocks.append(Block(actor.actor, actor.tenant, actor.key, first, last, offset, len(body), digest))
        bodies.append(body)
        offset += len(body)
        positions += (min(event.position for event in events), max(event.position for event in events))
        times += (min(event.at for event in events), max(event.at for event in events))
    count = sum(block.last_seq - block.first_seq + 1 for block in blocks)
    header = Header(
        FORMAT, VERSION, log_id, lane, partition, kind, count, min(positions), max(positions), min(times), max(times),
        blocks,
    )  # fmt: skip
    head = gzip.compress(_encode(header) + b"\n", _LEVEL, mtime=0)
    return Segment(header, b"".join((head, *bodies)), len(head))


def decode_segment(data: bytes) -> tuple[Header, list[ActorEvents]]:
    """Everything in a segment, every block of it checked. Raises BadSegment."""
    line, start = _first_member(data)
    try:
        # The version before the rest: a later one may look different.
        said = msgspec.json.decode(line)
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            raise BadSegment("it does not begin with the header of a segment")
        if said.get("version") != VERSION:
            raise BadSegment(f"its format is version {said.get('version')!r}, and this code knows {VERSION}")
        header = _decode_header(line)
    except msgspec.DecodeError as error:
        raise BadSegment(f"its header cannot be read: {error}") from error
    found = [decode_block(data[start + one.offset : start + one.offset + one.length], one) for one in header.blocks]
    end = max((start + block.offset + block.length for block in header.blocks), default=start)
    if end != len(data) or sum(len(block.events) for block in found) != header.events:
        raise BadSegment("it holds more or less than its header says")
    return header, found


def decode_block(body: bytes, block: Block) -> ActorEvents:
    """The events of one block, which is checked against what is known of it. Raises BadSegment."""
    name = f"the block of events {block.first_seq} to {block.last_seq} of {block.tenant}/{block.key} ({block.actor})"
    if hashlib.sha256(body).hexdigest() != block.sha256:
        raise BadSegment(f"{name} is damaged: its checksum is not {block.sha256}")
    try:
        first, *rest = gzip.decompress(body).rstrip(b"\n").split(b"\n")
        actor, events = _decode_actor(first), [_decode_event(line) for line in rest]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise BadSegment(f"{name} cannot be read: {error}") from error
    seqs = list(range(block.first_seq, block.last_seq + 1))
    if actor.actor != block.actor or [event.seq for event in events] != seqs:
        raise BadSegment(f"{name} holds other events")
    return ActorEvents(actor, events)


def _first_member(data: bytes) -> tuple[bytes, int]:
    member = zlib.decompressobj(wbits=31)
    try:
        line = member.decompress(data)
    except zlib.error as error:
        raise BadSegment(f"it does not begin with a gzip member: {error}") from error
    if not member.eof:
        raise BadSegment("its header is cut off")
    return line, len(data) - len(member.unused_data)
