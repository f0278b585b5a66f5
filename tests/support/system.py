"""A system of its own for a test: an empty database, empty streams, and pods as processes or in this one."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import nats
import psycopg
from nats.js.errors import NotFoundError

from runtime.client import Client
from runtime.errors import CallFailed, Rejected
from runtime.host.pod import Pod
from runtime.host.settings import PodSettings
from runtime.kind import Kind
from tests.support.emptying import empty, migrated
from tests.support.patience import PATIENCE_S
from tests.support.servers import Servers
from tests.support.warm import Process, start

ROOT = Path(__file__).parents[2]
KINDS = "tests.support.kinds"
PARTITIONS = 8
UP_S = 60.0
"""Seconds after which a pod's process that has not said that it is up is given up."""
LEASE_S = 20.0
"""The lease of pods in the test's own process: they share its loop, which a busy machine may hold up for seconds."""


class PodProcess:
    """A pod in a process of its own."""

    def __init__(self, process: Process, name: str) -> None:
        self.process = process
        self.name = name

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


class System:
    """One empty system on the run's servers."""

    def __init__(self, servers: Servers, database: str) -> None:
        parts = urlsplit(servers.postgres_url)
        self.servers = servers
        self.nats_url = servers.nats_url
        self.postgres_url = urlunsplit(parts._replace(path=f"/{database}"))
        self.database = database
        self.partitions = PARTITIONS
        self._processes: list[PodProcess] = []

    @property
    def pods(self) -> list[PodProcess]:
        """The pods that were started as processes, those that have ended too."""
        return list(self._processes)

    # -- processes ------------------------------------------------------------------------------------------------

    def environment(self, **settings: Any) -> dict[str, str]:
        """The environment of a pod's process."""
        given = {"nats_url": self.nats_url, "postgres_url": self.postgres_url, "partitions": self.partitions} | settings
        own = {f"RUNTIME_{name.upper()}": str(value) for name, value in given.items()}
        return {**os.environ, "PYTHONPATH": str(ROOT), **own}

    def start_pod(self, *modules: str, also: Sequence[str] = (), **settings: Any) -> PodProcess:
        """Starts a pod's process and waits until it is up; `also` names what it will import, and takes long."""
        process = start("runtime.host.process", *(modules or (KINDS,)), env=self.environment(**settings), also=also)
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], UP_S)[0]:
            process.kill()
            process.communicate()
            raise AssertionError(f"the pod was not up within {UP_S:.0f} s")
        line = process.stdout.readline()
        assert line, f"the pod ended with {process.wait()} before it was up"
        pod = PodProcess(process, json.loads(line)["pod"])
        self._processes.append(pod)
        return pod

    def stop_pods(self) -> None:
        """Ends every process that was started here."""
        for pod in self._processes:
            if pod.process.poll() is None:
                pod.process.kill()
                pod.process.wait()
            if pod.process.stdout is not None:
                pod.process.stdout.close()
        self._processes.clear()

    # -- in this process ------------------------------------------------------------------------------------------

    def settings(self, **settings: Any) -> PodSettings:
        """Settings of a pod of this system."""
        given: dict[str, Any] = {
            "nats_url": self.nats_url,
            "postgres_url": self.postgres_url,
            "partitions": self.partitions,
            "lease_ttl_s": LEASE_S,
        }
        return PodSettings(**(given | settings))

    @asynccontextmanager
    async def pod(self, *kinds: Kind, **settings: Any) -> AsyncIterator[Pod]:
        """A pod in this process that owns its lanes."""
        if not kinds:
            from tests.support import kinds as module

            kinds = tuple(value for value in vars(module).values() if isinstance(value, Kind))
        pod = Pod(self.settings(**settings), kinds)
        await pod.start()
        try:
            await until(lambda: any(lane.feed.reading for lane in pod.lanes.values()))
            yield pod
        finally:
            await pod.stop()

    @asynccontextmanager
    async def client(self, tenant: str = "default") -> AsyncIterator[Client]:
        """A client of this system. A call of it that fails, and was not expected to, is an assertion that fails."""
        client = await Client.connect(self.nats_url, tenant=tenant, connect_timeout_s=PATIENCE_S)
        try:
            yield client
        except (CallFailed, Rejected) as error:
            raise AssertionError(f"a call was to be answered, and was not: {error!r}") from error
        finally:
            await client.close()

    # -- looking --------------------------------------------------------------------------------------------------

    def sql(self, statement: str, *parameters: Any) -> list[Any]:
        """Rows of a statement, run as the database's owner in the schema troupe."""
        with psycopg.connect(self.postgres_url, autocommit=True, options="-c search_path=troupe") as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []


_made: weakref.WeakSet[System] = weakref.WeakSet()
_shapes: dict[str, str] = {}
"""What the databases looked like once they were migrated, by URL."""


def create(servers: Servers, database: str, *, new: bool = False) -> System:
    """Makes an empty system: a migrated database without rows, and no streams. A `new` one is not migrated yet.

    The pods of those before it on the same servers end: they would read its commands, and answer them as well.
    """
    for before in _made:
        if before.nats_url == servers.nats_url:
            before.stop_pods()
    system = System(servers, database)
    _made.add(system)
    url = system.postgres_url
    if new or url not in _shapes or not empty(url, _shapes[url]):
        with psycopg.connect(servers.postgres_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{database}"')
        if not new:
            _shapes[url] = asyncio.run(migrated(url))
    asyncio.run(drop_streams(servers.nats_url))
    return system


async def drop_streams(url: str) -> None:
    """Deletes every stream of ours, with all that is in it."""
    connection = await nats.connect(url)
    js = connection.jetstream()
    for stream in ("CMD", "INTENT", "EV", "OBJ_troupe-commands"):
        try:
            await js.delete_stream(stream)
        except NotFoundError:
            pass
    await connection.close()


async def until(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Waits until `condition` gives something true, and gives it."""
    end = time.monotonic() + timeout_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < end, f"it did not become true within {timeout_s} s"
        await asyncio.sleep(0.02)


def run(job: Any) -> Any:
    """Runs a coroutine to its end."""
    return asyncio.run(job)
