"""A real nats-server with JetStream on loopback."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from runtime.infra import packages
from runtime.infra.credentials import USER, write_private
from runtime.infra.filelock import FileLock
from runtime.infra.server import START_TIMEOUT_S, Command, Server

_PROBE_TIMEOUT_S = 1.0
_STORE_FAILED = b"critical write error"
"""What the server logs when a stream could not be written, before it stops storing anything in it for good."""

_ROOM_BYTES = 16 * 2**20
"""Free on the disk before such a server is started again."""

_CONFIG = """\
# Written at each start.
server_name: troupe-embedded
listen: "127.0.0.1:{port}"
authorization {{ user: "{user}", password: "{password}" }}
jetstream {{
  store_dir: {store}
  # Acknowledged messages are on disk a second later; the log, which is Postgres, is synced at each commit.
  sync_interval: "1s"
  max_memory_store: {max_memory_bytes}
  max_file_store: {max_file_bytes}
}}
max_connections: 10000
"""


class NatsServer(Server):
    """nats-server on `port`, with its store, configuration and log in `directory`. User `troupe`, one account.

    Limits: message payload 1 MiB (the server's default), streams in files up to half of the disk, in memory up to
    an eighth of the machine's.
    """

    name = "nats-server"
    # It writes its index on the way out, and so starts faster. What it acknowledged survives SIGKILL as well.
    death_signal = signal.SIGTERM
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path, port: int, password: str) -> None:
        super().__init__(directory / "lock", directory / "nats.log", port)
        self.directory = directory
        self._password = password
        self._binary = packages.nats_server()
        self._looked_upto = 0
        self._store_failed = False
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"nats://{USER}:{self._password}@127.0.0.1:{self.port}"

    def is_beyond_use(self) -> bool:
        """Whether a full disk has made it stop storing, and there is room again: only a new start helps then."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(self._looked_upto, self._log_start))
                said = log.read()
                self._looked_upto = log.tell()
        except FileNotFoundError:
            return False
        self._store_failed = self._store_failed or _STORE_FAILED in said
        return self._store_failed and shutil.disk_usage(self.directory).free > _ROOM_BYTES

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """See Server.start."""
        self._store_failed, self._looked_upto = False, 0
        super().start(timeout_s)

    @property
    def _config_path(self) -> Path:
        return self.directory / "nats.conf"

    @contextmanager
    def _command(self, lock: FileLock) -> Iterator[Command]:
        config = _CONFIG.format(
            port=self.port,
            user=USER,
            password=self._password,
            store=msgspec.json.encode(str(self.directory.absolute())).decode(),
            max_memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8,
            max_file_bytes=shutil.disk_usage(self.directory).total // 2,
        )
        write_private(self._config_path, config.encode())
        yield Command([str(self._binary), "--config", str(self._config_path.absolute())])

    def _is_ready(self) -> bool:
        """Whether it takes our password and answers. It listens only after JetStream has read its streams."""
        connect = msgspec.json.encode({"verbose": False, "user": USER, "pass": self._password}).decode()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_PROBE_TIMEOUT_S) as connection:
                connection.sendall(f"CONNECT {connect}\r\nPING\r\n".encode())
                received = b""
                while b"PONG\r\n" not in received:
                    chunk = connection.recv(4096)
                    if not chunk:
                        return False
                    received += chunk
                return True
        except OSError:
            return False
