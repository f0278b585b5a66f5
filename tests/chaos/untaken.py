"""What the streams of commands hold that no lane has taken yet, and so need not be in the log."""

from __future__ import annotations

import asyncio

import msgspec
import nats
import nats.errors

from tests.chaos.evidence import Finding
from tests.support.system import System

_LANES = """
SELECT g.stream, p.partition, p.checkpoint FROM partitions p JOIN groups g ON g.name = p.group_name WHERE NOT p.standby
"""


class _Message(msgspec.Struct):
    seq: int
    subject: str


class _Found(msgspec.Struct):
    """What the broker says: the first message of some subjects from a sequence on, if there is one."""

    message: _Message | None = None


async def untaken(system: System) -> list[Finding]:
    """For each lane that has something to take, its first message. Lanes of versions that stand by are not asked."""
    lanes = await asyncio.to_thread(system.sql, _LANES)
    connection = await nats.connect(system.nats_url.split(","))
    found: list[Finding] = []
    try:
        for stream, partition, checkpoint in lanes:
            asked = msgspec.json.encode({"seq": checkpoint + 1, "next_by_subj": f"p.{partition}.>"})
            try:
                answer = await connection.request(f"$JS.API.STREAM.MSG.GET.{stream}", asked, timeout=5)
            except nats.errors.Error as error:
                found.append((stream, f"the stream does not say what it holds: {error!r}"))
                continue
            message = msgspec.json.decode(answer.data, type=_Found).message
            if message is not None:
                place = f"{message.subject}, stored at {message.seq}"
                found.append((f"{stream} {partition}", f"{place}, is not taken: the checkpoint is {checkpoint}"))
    finally:
        await connection.close()
    return found
