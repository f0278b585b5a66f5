"""Links between programs and servers that a test can break: the driver of tests.support.tcp_proxy."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import msgspec

from tests.support.system import ROOT
from tests.support.tcp_proxy import Answer, Manner, Order


class Links:
    """A proxy process, and what it is told. A context manager; may be used from several threads."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.tcp_proxy"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, name: str, url: str) -> str:
        """A link to the server of `url`; gives the same URL with the link's address in it."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        answer = self._order(Order("open", name, parts.hostname, parts.port))
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{answer.port}"))

    def set(self, name: str, manner: Manner) -> int:
        """Gives a link its manner; returns how many connections it had."""
        return self._order(Order("set", name, manner=manner)).connections

    def close_link(self, name: str) -> None:
        """Ends one link and its connections."""
        self._order(Order("close", name))

    def close(self) -> None:
        """Ends the process, and with it every connection. Repeating it is harmless."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
            self._process.wait(10)
            self._process.stdout.close()

    def _order(self, order: Order) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the proxy ended with exit code {self._process.wait()} before it obeyed {order}")
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error:
            raise LookupError(answer.error)
        return answer
