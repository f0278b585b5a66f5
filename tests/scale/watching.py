"""The axis of sessions that are watched: SSE clients on one gateway process, each of which must get every fact once.

A piece connects the clients, looks at them while nothing happens, and then sends commands whose sessions they watch, at
a steady rate: each client its own session, or all of them one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec
import uvloop

from runtime.client import Client
from tests.bench.stage import Miscounted, Scene, Stage
from tests.scale.files import allow
from tests.scale.watchers import Expected, Watched, Watching
from tests.support.system import ROOT

PROCESSES = 2
SPARE_FILES = 500
SETTLE_S = 1.0
BODY = b'{"amount":1}'


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """What is watched: `own` sessions, or `one` for all; `commands` in all at `rate` a second; idle for `idle_s`."""

    clients: int
    sessions: Literal["own", "one"]
    commands: int
    rate: float
    idle_s: float


def measure(stage: Stage, shape: Shape) -> dict[str, float]:
    """One piece. Raises Miscounted when a client missed a fact, or got one twice or out of order."""
    allow(shape.clients + SPARE_FILES)
    with stage.scene(gateway=True) as scene:
        names = [f"s{number}" for number in range(shape.clients)] if shape.sessions == "own" else ["s0"]
        uvloop.run(_send(scene, ["warm"] * 200, 1000.0))
        before = scene.resident_bytes()
        unconnected = scene.cpu_s()["gateway"]
        with _watchers(scene, [names[number % len(names)] for number in range(shape.clients)]) as watchers:
            connect_s = max([float(_line(process)) for process in watchers])
            connected = scene.cpu_s()["gateway"] - unconnected
            time.sleep(SETTLE_S)
            after = scene.resident_bytes()
            quiet = scene.cpu_s()
            time.sleep(shape.idle_s)
            idle = {name: value - quiet[name] for name, value in scene.cpu_s().items()}
            keys = [names[number % len(names)] for number in range(shape.commands)]
            began = scene.cpu_s()
            answers = sorted(uvloop.run(_send(scene, keys, shape.rate)))
            sent = time.monotonic()
            watched = _finish(watchers, Expected(shape.commands // len(names)))
            busy = {name: value - began[name] for name, value in scene.cpu_s().items()}
            tail_s = time.monotonic() - sent
        facts = sum(one.facts for one in watched)
        _check(watched)
        seconds = shape.commands / shape.rate + tail_s
        used = {name: (busy[name] - idle[name] / shape.idle_s * seconds) / facts * 1e6 for name in ("gateway", "nats")}
        delays = sorted(delay for one in watched for delay in one.delays)
        return {
            "facts": facts,
            "connect_s": connect_s,
            "connect_cpu_us": connected / shape.clients * 1e6,
            "gateway_kib": (after["gateway"] - before["gateway"]) / shape.clients / 1024,
            "nats_kib": max(0, after["nats"] - before["nats"]) / shape.clients / 1024,
            "gateway_mib": after["gateway"] / 2**20,
            "idle_gateway_share": idle["gateway"] / shape.idle_s,
            "idle_nats_share": idle["nats"] / shape.idle_s,
            "fact_gateway_us": used["gateway"],
            "fact_nats_us": used["nats"],
            "gateway_share": busy["gateway"] / seconds,
            "facts_per_s": facts / seconds,
            "answer_p50_ms": answers[len(answers) // 2] * 1000,
            "answer_p99_ms": answers[int(len(answers) * 0.99)] * 1000,
            "delay_p50_ms": delays[len(delays) // 2] * 1000,
            "delay_p99_ms": delays[int(len(delays) * 0.99)] * 1000,
            "delay_max_ms": delays[-1] * 1000,
        }


def _check(watched: list[Watched]) -> None:
    wrong = {
        name: sum(getattr(one, name) for one in watched)
        for name in ("missing", "doubled", "disordered", "lost_connections", "resets")
    }
    if any(wrong.values()):
        told = "; ".join(text for one in watched for text in one.trouble)
        raise Miscounted(f"clients did not see what was committed: {wrong}. {told}")


async def _send(scene: Scene, keys: list[str], rate: float) -> list[float]:
    """Sends one command to each key, in a session of its name, at a steady rate; gives the seconds to each answer."""
    waits: list[float] = []
    async with await Client.connect(scene.system.nats_url) as client:
        begun = time.perf_counter()
        waiting: set[asyncio.Task[None]] = set()

        async def send(key: str) -> None:
            asked = time.perf_counter()
            await client.ask("counter", key, "add", {"amount": 1}, session=key, timeout_s=120)
            waits.append(time.perf_counter() - asked)

        for number, key in enumerate(keys):
            if (ahead := begun + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            task = asyncio.ensure_future(send(key))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)
    return waits


@contextmanager
def _watchers(scene: Scene, sessions: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    processes = []
    try:
        for number in range(PROCESSES):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.scale.watchers"],
                cwd=ROOT, env=scene.system.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            processes.append(process)
            _tell(process, Watching(scene.gateway_url, sessions[number::PROCESSES]))
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _tell(process: subprocess.Popen[str], message: Watching | Expected) -> None:
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(message).decode() + "\n")
    process.stdin.flush()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of clients ended with exit code {process.wait()}")
    return line


def _finish(processes: list[subprocess.Popen[str]], expected: Expected) -> list[Watched]:
    for process in processes:
        _tell(process, expected)
    return [msgspec.json.decode(_line(process), type=Watched) for process in processes]
