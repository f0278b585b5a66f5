"""Three nats-servers that replicate their streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import nats
import nats.errors
from nats.js.errors import Error as JetStreamError

from runtime.infra import NatsServer
from runtime.infra.credentials import USER, write_private
from runtime.infra.filelock import FileLock
from runtime.infra.ports import free_port
from runtime.infra.server import Command
from schemas.subjects import CMD_STREAM

SIZE = 3
START_TIMEOUT_S = 30.0
_MEMBER = """\
server_name: {name}
listen: "127.0.0.1:{port}"
authorization {{ user: "{user}", password: "{password}" }}
jetstream {{ store_dir: {store}, max_memory_store: 268435456, max_file_store: 21474836480, sync_interval: "1s" }}
cluster {{
  name: troupe-chaos
  listen: "127.0.0.1:{route_port}"
  authorization {{ user: "{user}", password: "{password}" }}
  routes: [{routes}]
  no_advertise: true
}}
"""


class Member(NatsServer):
    """One server of the cluster."""

    def __init__(self, directory: Path, port: int, password: str, route_port: int) -> None:
        super().__init__(directory, port, password)
        self.member_name = directory.name
        self.route_port = route_port
        self.others: Sequence[Member] = ()

    @contextmanager
    def _command(self, lock: FileLock) -> Iterator[Command]:
        routes = [f'"nats://{USER}:{self._password}@127.0.0.1:{other.route_port}"' for other in self.others]
        config = _MEMBER.format(
            name=self.member_name,
            port=self.port,
            user=USER,
            password=self._password,
            store=msgspec.json.encode(str(self.directory.absolute())).decode(),
            route_port=self.route_port,
            routes=", ".join(routes),
        )
        write_private(self._config_path, config.encode())
        yield Command([str(self._binary), "--config", str(self._config_path.absolute())])


class Cluster:
    """The members, started side by side."""

    def __init__(self, directory: Path, password: str) -> None:
        ports: list[int] = []
        for _ in range(2 * SIZE):
            ports.append(free_port(avoid=ports))
        self.members = [
            Member(directory / f"nats-{n + 1}", ports[n], password, ports[SIZE + n]) for n in range(SIZE)
        ]
        for member in self.members:
            member.others = [other for other in self.members if other is not member]

    @property
    def url(self) -> str:
        """Every member's address."""
        return ",".join(member.url for member in self.members)

    async def start(self) -> None:
        """Starts what does not run, and returns when streams can be asked about."""
        await asyncio.gather(*[asyncio.to_thread(member.start) for member in self.members])
        end = time.monotonic() + START_TIMEOUT_S
        while not await self._has_leader():
            if time.monotonic() > end:
                raise TimeoutError(f"the three nats-servers elected no leader within {START_TIMEOUT_S:g} s")
            await asyncio.sleep(0.1)

    async def leader(self, stream: str = CMD_STREAM) -> Member | None:
        """Who leads the stream; None while nobody does."""
        try:
            connection = await nats.connect(self.url.split(","), allow_reconnect=False, connect_timeout=2)
        except (nats.errors.Error, OSError, TimeoutError):
            return None
        try:
            info = await connection.jetstream(timeout=2).stream_info(stream)
        except (nats.errors.Error, JetStreamError, OSError, TimeoutError):
            return None
        finally:
            await connection.close()
        name = info.cluster.leader if info.cluster else None
        return next((member for member in self.members if member.member_name == name), None)

    def stop(self) -> None:
        """Ends every member."""
        for member in self.members:
            member.stop()

    async def _has_leader(self) -> bool:
        try:
            connection = await nats.connect(self.url.split(","), allow_reconnect=False, connect_timeout=2)
        except (nats.errors.Error, OSError, TimeoutError):
            return False
        try:
            await connection.jetstream(timeout=2).account_info()
        except (nats.errors.Error, JetStreamError, OSError, TimeoutError):
            return False
        finally:
            await connection.close()
        return True
