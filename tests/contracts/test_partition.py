"""`partition_of` and the CMD stream agree on where an address lives: compared with a real nats-server."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from nats.js.api import ConsumerConfig, DeliverPolicy

from runtime.client.connection import connect
from runtime.infra import NatsServer
from runtime.infra.ports import free_port
from runtime.jetstream.streams import StreamSettings, configs
from schemas import subjects
from schemas.address import MAX_TOKEN_BYTES, Address, encode_token, partition_of

ADDRESSES = 400
SEED = 20_240_601
ALPHABET = "abzAZ09-_~ .*>%/$é漢\U0001f600\x01\n"
UNUSUAL = [
    Address("t", "k", "x" * MAX_TOKEN_BYTES),
    Address("t", "k", "."),
    Address("ab", "c", "d"),
    Address("a", "bc", "d"),
    Address("a", "b", "cd"),
]


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"), free_port(), "secret")
    server.start()
    yield server
    server.stop()


def addresses() -> list[Address]:
    draw = random.Random(SEED)

    def name() -> str:
        return "".join(draw.choices("abzAZ09-_", k=draw.randint(1, 12)))

    def key() -> str:
        return "".join(draw.choices(ALPHABET, k=draw.randint(1, 16)))

    return UNUSUAL + [Address(name(), name(), key()) for _ in range(ADDRESSES)]


async def stored_subjects(url: str, partitions: int, published: list[Address]) -> list[str]:
    """The subjects under which a CMD stream of so many partitions stores a command to each address."""
    connection = await connect(url, name="test-partition")
    try:
        js = connection.jetstream()
        config = configs(StreamSettings(partitions=partitions, cmd_max_bytes=64 * 1024**2))[0]
        await js.add_stream(config)
        for address in published:
            await js.publish(subjects.command(address, "go"), b"")
        every = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        reader = await js.subscribe("p.>", stream=subjects.CMD_STREAM, ordered_consumer=True, config=every)
        stored = [(await reader.next_msg(timeout=60)).subject for _ in published]
        await js.delete_stream(subjects.CMD_STREAM)
        return stored
    finally:
        await connection.close()


@pytest.mark.parametrize("partitions", [1, 7, 128])
def test_given_random_addresses_when_commands_are_stored_then_each_is_in_the_partition_we_computed(
    nats: NatsServer, partitions: int
) -> None:
    published = addresses()
    stored = asyncio.run(stored_subjects(nats.url, partitions, published))
    expected = []
    for tenant, kind, key in published:
        token = encode_token(key)
        expected.append(f"p.{partition_of(tenant, kind, token, partitions)}.{tenant}.{kind}.{token}.go")
    assert stored == expected
