"""The bare prototype of the engine's own design, written for this comparison: what group commit alone would give."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nats
from nats.js.errors import NotFoundError

from tests.peers import loading, packages
from tests.peers.databases import fresh, one_value
from tests.peers.peer import Axes, Ground
from tests.peers.programs.prototype_wire import STREAM
from tests.peers.work import WORKS, Outcome, Setting
from tests.support.system import ROOT

PACKAGES = ("asyncpg", "nats-py", "msgspec")
_SATURATED: Axes = {"in_flight": (1024, 512, 2048), "batch": (1000, 256), "processes": (2,)}


class Prototype:
    """One actor process, two processes of callers, and the servers that the engine has."""

    name = "prototype"
    title = "bare prototype"
    how = (
        "A command is a JetStream message; one process decides for all keys and commits whatever has come in one "
        "statement. Without leases, fencing, checked arguments, outbox, timers, snapshots or any way to fail."
    )
    durability = "answered after the commit; fsync and synchronous_commit on"
    works: Mapping[str, Axes] = {"keyed": _SATURATED, "alone": {"in_flight": (1,), "batch": (256,)}, "hot": _SATURATED}

    def prepare(self, ground: Ground) -> dict[str, str]:
        """See Peer."""
        self._python = packages.environment(ground.state, self.name, PACKAGES)
        return packages.versions(self._python, PACKAGES)

    def measure(self, ground: Ground, work: str, setting: Setting, seconds: float) -> Outcome:
        """See Peer."""
        url = fresh(ground.infra.endpoints, "peer_prototype")
        nats_url = ground.infra.endpoints.nats_url
        asyncio.run(_drop_stream(nats_url))
        with _actor(self._python, nats_url, url, setting) as pid:
            load = loading.Load(self._python, "prototype_load", nats_url, WORKS[work].keys, setting, seconds)
            outcome, answered = loading.run(load, {"actor": pid, **ground.servers})
            loading.check(answered, one_value(url, "SELECT count(*) FROM prototype_events"), "the prototype's log")
        return outcome


@contextmanager
def _actor(python: Path, nats_url: str, postgres_url: str, setting: Setting) -> Iterator[int]:
    """The pid of an actor process that reads."""
    module = "tests.peers.programs.prototype_actor"
    process = subprocess.Popen(
        [str(python), "-m", module, nats_url, postgres_url, str(setting["batch"])],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the prototype's actor ended with exit code {process.wait()}")
        yield process.pid
    finally:
        process.kill()
        process.wait()


async def _drop_stream(url: str) -> None:
    connection = await nats.connect(url)
    try:
        await connection.jetstream().delete_stream(STREAM)
    except NotFoundError:
        pass
    await connection.close()
