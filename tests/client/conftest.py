"""A real nats-server, and the other side of the wire spoken by hand: what a pod answers, said by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.client import Client, Connection, connect
from runtime.jetstream.streams import StreamSettings, ensure
from tests.client.nats_process import Broker
from tests.client.peer import Peer
from tests.support.patience import PATIENCE_S

PARTITIONS = 8


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests that leave it running."""
    broker = Broker(tmp_path_factory.mktemp("nats"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, which it may kill."""
    broker = Broker(tmp_path / "nats")
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture
async def connection(shared_broker: Broker) -> AsyncIterator[Connection]:
    """A connection to the shared broker, whose streams are fresh."""
    connection = await connect(shared_broker.url, name="test", connect_timeout_s=PATIENCE_S)
    jetstream = connection.jetstream()
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(stream.config.name or "")
    await ensure(connection, StreamSettings(partitions=PARTITIONS))
    yield connection
    await connection.close()


@pytest.fixture
async def peer(connection: Connection) -> Peer:
    """The other side of the wire."""
    peer = Peer(connection, PARTITIONS)
    await peer.open()
    return peer


@pytest.fixture
async def client(shared_broker: Broker, connection: Connection) -> AsyncIterator[Client]:
    """A client of the tenant `acme`."""
    async with await Client.connect(shared_broker.url, "acme", connect_timeout_s=PATIENCE_S) as client:
        yield client
