"""`runtime replay --against`: new code against the log of a running system, and against a file, without servers."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import msgspec
import pytest

from runtime import World
from runtime.entity import entity
from tests.cli.command import Runtime
from tests.support import flowers
from tests.support.system import System
from tests.unit.test_replaying import Added

OTHERWISE = '''
from runtime import Workflow, workflow


@workflow
async def finishing(ctx: Workflow, tasks: int) -> list[int]:
    return [await ctx.step(f"step-{number}", print, number, returns=int) for number in reversed(range(tasks))]
'''

COUNTER = '''
import msgspec
from runtime import entity


class Added(msgspec.Struct, frozen=True):
    amount: int


def apply(state: int, event: Added) -> int:
    return {}


counter = entity("counter", initial=0, apply=apply)
'''


@pytest.fixture
def alone(tmp_path: Path) -> Runtime:
    """`runtime …` in a directory of its own, where no server runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNTIME_")}
    return Runtime(environment | {"RUNTIME_DATA": str(tmp_path / "data")}, tmp_path)


def test_given_runs_of_a_system_when_new_code_is_compared_then_each_difference_is_told(
    shared_system: System, tmp_path: Path, alone: Runtime
) -> None:
    shared_system.start_pod("tests.support.flowers")
    here = Runtime(shared_system.environment(), tmp_path)
    path = tmp_path / "notes"

    async def work() -> None:
        async with shared_system.client() as client:
            assert sorted(await client.ask(flowers.finishing, "f", "run", {"tasks": 3})) == [0, 1, 2]
            counting = await client.submit(flowers.counting, "c", "run", {"path": str(path), "to": 2})
            await counting.signal("more", 1)
            await counting.signal("more", 1)
            assert await counting.result(int) == 2
            await client.submit(flowers.pondering, "p", "run", {})

    asyncio.run(work())
    noted = path.read_text()
    same = here.ok("replay", "--against", "tests.support.flowers", "--json").json
    assert (same["differences"], same["actors"], same["runs"], same["open"]) == ([], 3, 3, 1)

    (tmp_path / "otherwise.py").write_text(OTHERWISE)
    exported = str(tmp_path / "recorded.jsonl")
    here.ok("log", "export", "--states", "-o", exported)
    ended = alone("replay", exported, "--against", "otherwise", "--json")
    assert ended.code == 1
    [found] = ended.json["differences"]
    assert (found["kind"], found["key"], found["what"]) == ("finishing", "f", "journal")
    assert found["at"] == f"{tmp_path / 'otherwise.py'}:7"
    assert ended.json["unknown"] == ["counting", "pondering"]
    shown = alone("replay", exported, "--against", "otherwise").out
    assert "default/finishing/f, run " in shown
    assert f"at: {found['at']}" in shown
    assert "1 differences in 1 actors" in shown
    assert path.read_text() == noted


def test_given_the_old_code_beside_the_new_when_states_differ_then_the_event_is_told(
    alone: Runtime, tmp_path: Path
) -> None:
    kind = entity("counter", initial=0, apply=lambda state, event: state + event.amount, events=[Added])

    @kind.command
    def add(state: int, amount: int) -> Added:
        return Added(amount)

    world = World(kind)
    for amount in (1, 2, 4):
        world.ask(kind, "a", "add", {"amount": amount})
    recorded = tmp_path / "recorded.jsonl"
    recorded.write_bytes(b"\n".join(msgspec.json.encode(event) for event in world.log))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "counters.py").write_text(COUNTER.format("state + event.amount"))
    (tmp_path / "counters.py").write_text(COUNTER.format("min(state + event.amount, 5)"))
    assert alone.ok("replay", "recorded.jsonl", "--against", "counters").out.startswith("0 differences")
    ended = alone("replay", "recorded.jsonl", "--against", "counters", "--old", "old", "--json")
    [found] = json.loads(ended.out)["differences"]
    assert (ended.code, found["what"], found["seq"], found["old"], found["new"]) == (1, "state", 3, 7, 5)
    assert "is no directory" in alone.fails(2, "replay", "recorded.jsonl", "--against", "counters", "--old", "none")
    (tmp_path / "others.py").write_text(COUNTER.format("state").replace('"counter"', '"other"'))
    told = alone.fails(2, "replay", "recorded.jsonl", "--against", "others")
    assert "others defines none of the kinds that are recorded: counter" in told
    told = alone.fails(2, "replay", "recorded.jsonl", "--against", "counters", "--kind", "count")
    assert "does not define the kind 'count'" in told
    told = alone.ok("replay", "recorded.jsonl", "--against", "counters", "--tenant", "acme").out
    assert told.startswith("0 differences in 0 actors")
    assert "say against which code" in alone.fails(2, "replay", "recorded.jsonl")
    assert "no servers run" in alone.fails(5, "replay", "--against", "counters")
