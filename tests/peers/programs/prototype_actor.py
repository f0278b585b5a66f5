"""The bare prototype's actor process: a stream, state in memory, one Postgres commit for all that has come meanwhile.

It has no leases, fencing, recorded answers, timers, snapshots, outbox, validation or way to fail: what remains is the
ceiling of the design. `python -m tests.peers.programs.prototype_actor <NATS URL> <Postgres URL> <commands a batch>`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict

import asyncpg
import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig

from tests.peers.programs.prototype_wire import STREAM, SUBJECT, Added, Command, Reply, command_of, encode

TABLES = """
CREATE TABLE prototype_events (actor_kind text NOT NULL, actor_key text NOT NULL, seq bigint NOT NULL,
    type text NOT NULL, payload bytea NOT NULL, command_id text NOT NULL, at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor_kind, actor_key, seq));
CREATE TABLE prototype_done (command_id text PRIMARY KEY, seq bigint NOT NULL);
"""
WRITE = """
WITH done AS (INSERT INTO prototype_done (command_id, seq) SELECT * FROM unnest($4::text[], $2::bigint[]))
INSERT INTO prototype_events (actor_kind, actor_key, seq, type, payload, command_id)
SELECT 'counter', key, seq, 'added', payload, id
FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::text[]) u(key, seq, payload, id)
"""
MUCH = 64 * 2**20
NEXT = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.actor"


class Actor:
    """Reads, decides, commits, answers; one batch at a time."""

    def __init__(self, connection: Client, write: asyncpg.prepared_stmt.PreparedStatement, batch: int) -> None:
        self._connection = connection
        self._write = write
        self._batch = batch
        self._waiting: list[tuple[str, Command]] = []
        self._asked_for = 0
        self._woken = asyncio.Event()
        self._state: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self._inbox = connection.new_inbox()
        self._ask = json.dumps({"batch": batch, "expires": 30_000_000_000}).encode()

    async def start(self) -> None:
        """Begins to read."""
        await self._connection.subscribe(
            self._inbox, cb=self._take, pending_msgs_limit=10_000_000, pending_bytes_limit=2**30
        )
        await self._pull()
        await self._pull()

    async def go_on(self) -> None:
        """Commits batch after batch."""
        while True:
            while not self._waiting:
                self._woken.clear()
                await self._woken.wait()
            batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
            await self._pull()
            await self._commit(batch)

    async def _take(self, message: Msg) -> None:
        if message.reply:
            self._asked_for -= 1
            self._waiting.append((message.reply, command_of(message.data)))
            self._woken.set()
        else:  # a pull that has ended says how many it did not deliver
            left = int((message.headers or {}).get("Nats-Pending-Messages", self._batch))
            self._asked_for = max(0, self._asked_for - left)
        await self._pull()

    async def _pull(self) -> None:
        if self._asked_for <= self._batch and len(self._waiting) < 4 * self._batch:
            self._asked_for += self._batch
            await self._connection.publish(NEXT, self._ask, reply=self._inbox)

    async def _commit(self, batch: list[tuple[str, Command]]) -> None:
        rows: list[tuple[str, int, bytes, str]] = []
        replies: dict[str, list[Reply]] = defaultdict(list)
        for _, command in batch:
            seq, value = self._state[command.key]
            seq, value = self._state[command.key] = seq + 1, value + command.amount
            rows.append((command.key, seq, encode(Added(command.amount, value, command.id)), command.id))
            replies[command.reply_to].append(Reply(command.id, value, seq))
        await self._write.fetch(*[list(column) for column in zip(*rows, strict=True)])
        publish = self._connection.publish
        for reply_to, answers in replies.items():
            await publish(reply_to, encode(answers))
        for acknowledge, _ in batch:
            await publish(acknowledge, b"+ACK")


async def main(nats_url: str, postgres_url: str, batch: int) -> None:
    """Makes stream and tables anew, says when it reads, and goes on until it is ended."""
    connection = await nats.connect(nats_url, pending_size=MUCH)
    context = connection.jetstream()
    await context.add_stream(
        StreamConfig(STREAM, subjects=[SUBJECT], storage=StorageType.FILE, retention=RetentionPolicy.WORK_QUEUE)
    )
    await context.add_consumer(
        STREAM, ConsumerConfig(durable_name="actor", ack_policy=AckPolicy.EXPLICIT, max_ack_pending=20_000)
    )
    log = await asyncpg.connect(postgres_url)
    await log.execute(TABLES)
    actor = Actor(connection, await log.prepare(WRITE), batch)
    await actor.start()
    await connection.flush()
    print("ready", flush=True)
    await actor.go_on()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
