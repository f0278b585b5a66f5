"""Turns of an agent, beside litellm alone on the same stand-in for a model's server; tokens, sessions, imports."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.bench.bare_models import ModelLoad
from tests.bench.callers import Callers
from tests.bench.figures import Figures
from tests.bench.messaging import describe
from tests.bench.rate import Rate, rate_of
from tests.bench.stage import Miscounted, Scene, Stage
from tests.bench.tally import Load
from tests.support.system import ROOT

KINDS = "tests.bench.agent_kinds"
TURNS = "tests.bench.agent_turns"
BARE = "tests.bench.bare_models"
MODEL = "openai/words-16"
"""It answers in so many pieces."""

IN_FLIGHT = 16
ANSWERS_A_TURN = 5
"""In the log: of `say`, of the router's run and the agent's, of what the first is told of the other, and of `over`."""

EVENTS_A_TURN = 12
"""Of the session what it hears and what comes of it; of the router's run its beginning, the choice, the other run twice
and its end; of the agent's its beginning, two model calls, a tool's, and its end."""

SETTLED_WITHIN_S = 30.0


@contextmanager
def model_server() -> Iterator[str]:
    """The URL of a stand-in for a model's server, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.model_process"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def fleet(directory: Path, url: str, model: str = MODEL) -> Path:
    """A fleet's file in which that server serves every slot but the router's, which goes by words."""
    path = directory / "fleet.yaml"
    slots = {"generate": {"model": model, "api_base": url}, "classify": {"model": "offline"}}
    path.write_bytes(msgspec.yaml.encode({"fleet": slots}))
    return path


def turns(stage: Stage, seconds: float, figures: Figures) -> None:
    """A sentence to the router, an agent's two model calls and a tool call, against two model calls by litellm alone.

    The agent's model streams, so the calls it is measured against do; beside these, calls that are answered whole.
    """
    with model_server() as url:
        path = fleet(stage.next_log_dir(), url)
        with stage.scene(gateway=True, modules=[KINDS], fleet=path) as scene:
            _load_litellm(scene)
            one = _ours(scene, 1, seconds)
            many = _ours(scene, IN_FLIGHT, seconds)
        bare_one = _bare(url, 1, seconds, stream=True)
        bare = _bare(url, IN_FLIGHT, seconds, stream=True)
        whole = _bare(url, IN_FLIGHT, seconds, stream=False)
    for what, rate in (
        ("agent's turns", one), ("agent's turns", many), ("two bare calls, streamed", bare_one),
        ("two bare calls, streamed", bare), ("two bare calls, whole", whole),
    ):  # fmt: skip
        figures.say(describe(what, rate))
    figures.add(
        agent_turns_per_s=many.per_s,
        bare_turns_per_s=bare.per_s,
        agent_turns_ratio_to_bare_model=many.per_s / bare.per_s,
        agent_turns_ratio_to_whole_answers=many.per_s / whole.per_s,
        model_call_overhead_ms=(one.p50_ms - bare_one.p50_ms) / 2,
        **{f"agent_turn_{name}_us": value for name, value in many.cpu_us.items()},
        bare_turn_clients_us=bare.cpu_us["clients"],
    )


def _ours(scene: Scene, in_flight: int, seconds: float) -> Rate:
    before = scene.counted()
    rate, answered = _measured(TURNS, Load(scene.gateway_url, [""], in_flight, 0.0, seconds), scene.warm_up_s, scene)
    end = time.monotonic() + SETTLED_WITHIN_S
    while True:  # the session hears of its run's end a moment after who waits for that
        now = scene.counted()
        found = now.answers - before.answers, now.events - before.events
        if found == (ANSWERS_A_TURN * answered, EVENTS_A_TURN * answered):
            return rate
        if time.monotonic() > end:
            raise Miscounted(f"{answered} turns were answered, and the log holds {found} (answers, events)")
        time.sleep(0.05)


def _load_litellm(scene: Scene) -> None:
    """Has a pod take a turn that is not measured: it loads litellm, which takes seconds."""
    process = Callers(TURNS, Load(scene.gateway_url, [""], 1, 0.0, 0.0))
    try:
        process.await_ready()
        process.begin(time.time() + 0.1)
        if process.finish().failed:
            raise Miscounted("the first turn failed")
    finally:
        process.close()


def _bare(url: str, in_flight: int, seconds: float, *, stream: bool) -> Rate:
    return _measured(BARE, ModelLoad(url, [""], in_flight, 0.0, seconds, MODEL, stream), 1.0, None)[0]


def _measured(module: str, load: Load, warm_up_s: float, scene: Scene | None) -> tuple[Rate, int]:
    """The rate of a load of one process, and how many were answered in all. Raises Miscounted."""
    process = Callers(module, load)
    try:
        process.await_ready()
        begin_at = time.time() + warm_up_s
        process.begin(begin_at)
        time.sleep(max(0.0, begin_at - time.time()))
        early = scene.cpu_s() if scene is not None else {}
        time.sleep(max(0.0, begin_at + load.seconds - time.time()))
        late = scene.cpu_s() if scene is not None else {}
        tally = process.finish()
    finally:
        process.close()
    if tally.failed or not tally.waits:
        raise Miscounted(f"of {tally.answered} turns {tally.failed} failed")
    used = {name: late[name] - early[name] for name in late} | {"clients": tally.cpu_s}
    return rate_of(load.in_flight, tally.waits, load.seconds, used), tally.answered


def imports(_: Stage, __: float, figures: Figures) -> None:
    """Processor time of importing what every process imports, in one of its own; the least of five."""
    code = "import time; began = time.process_time(); import runtime; print(time.process_time() - began)"
    took = [_printed([sys.executable, "-c", code]) for _ in range(5)]
    figures.say(f"importing runtime: {min(took) * 1000:.0f} ms of processor time")
    figures.add(import_core_s=min(took))


def _printed(command: Sequence[str]) -> float:
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
