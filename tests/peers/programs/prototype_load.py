"""Calls the prototype: publishes into its stream without waiting for the broker, and waits for the actor's answer."""

from __future__ import annotations

import asyncio
import itertools

import nats
import uvloop
from nats.aio.msg import Msg

from tests.peers.programs.job import Job, run, told
from tests.peers.programs.prototype_wire import SUBJECT, Command, Reply, encode, replies_of

MUCH = 64 * 2**20


async def main(job: Job) -> None:
    """Calls until the measurement is over."""
    connection = await nats.connect(job.target, pending_size=MUCH)
    inbox = connection.new_inbox()
    waiting: dict[str, asyncio.Future[Reply]] = {}
    loop = asyncio.get_running_loop()

    async def answered(message: Msg) -> None:
        for reply in replies_of(message.data):
            waiting.pop(reply.id).set_result(reply)

    await connection.subscribe(inbox, cb=answered, pending_msgs_limit=10_000_000, pending_bytes_limit=2**30)
    await connection.flush()
    names = map(f"{job.number}-{job.begin_at}-{{}}".format, itertools.count())

    async def call(key: str) -> bool:
        id = next(names)
        answer = waiting[id] = loop.create_future()
        await connection.publish(SUBJECT, encode(Command(id, key, inbox, 1)))
        reply = await answer
        return reply.value > 0

    await run(job, [call] * job.in_flight)
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main(told()))
