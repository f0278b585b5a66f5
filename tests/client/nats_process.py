"""A nats-server process of a test's own: it can be killed and come back under the same address."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

from runtime.infra.packages import nats_server
from runtime.infra.ports import free_port
from tests.support.patience import PATIENCE_S


class Broker:
    """A nats-server with JetStream on loopback, storing under `directory`."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.name = f"test-{uuid.uuid4()}"
        self.url = f"nats://127.0.0.1:{self.port}"

    @staticmethod
    def binary() -> str:
        """Where nats-server is."""
        return str(nats_server())

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        command = [
            self.binary(),
            "-a",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-js",
            "-sd",
            str(self._directory),
            "-n",
            self.name,
        ]
        self._process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as greeted:
                    # Another server may have been given the port in the meantime.
                    assert self.name.encode() in greeted.recv(4096), f"port {self.port} is somebody else's"
                    return
            except OSError:
                assert self._process.poll() is None, "nats-server ended at once"
                time.sleep(0.02)
        raise AssertionError("nats-server does not listen")

    def kill(self) -> None:
        """Ends it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stops it where it is: it keeps its connections and reads nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Lets it go on after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
