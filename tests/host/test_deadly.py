"""A command that ends its process, when it did not come from the stream but had to wait: it is parked all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.client import Client
from runtime.errors import CallFailed
from tests.host.deadly import mine
from tests.support.kinds import Add, counter
from tests.support.system import KINDS, System, run, until

DEADLY = "tests.host.deadly"
OTHERS = 8
WAITING = "SELECT method, state FROM pending WHERE kind = 'mine' ORDER BY ord"


def test_given_a_command_behind_a_held_key_when_it_kills_its_process_then_it_is_parked_and_others_go_on(
    system: System, tmp_path: Path
) -> None:
    first, last = tmp_path / "first", tmp_path / "last"
    pods = [system.start_pod(KINDS, DEADLY)]

    async def keep_a_pod_up(over: asyncio.Event) -> None:
        while not over.is_set():
            if pods[-1].process.poll() is not None:
                pods.append(await asyncio.to_thread(system.start_pod, KINDS, DEADLY))
            await asyncio.sleep(0.05)

    async def count_up(client: Client, key: str, over: asyncio.Event) -> list[int]:
        answers: list[int] = []
        while not over.is_set():
            answers.append(await client.ask(counter, key, Add(1), timeout_s=120))
            await asyncio.sleep(0.05)
        return answers

    async def scenario() -> list[list[int]]:
        over = asyncio.Event()
        async with system.client() as client:
            held = asyncio.ensure_future(client.ask(mine, "a", "hold", {"path": str(first)}, timeout_s=120))
            await until(lambda: system.sql(WAITING) == [("hold", "running")])
            poison = asyncio.ensure_future(client.ask(mine, "a", "explode", timeout_s=120))
            await until(lambda: len(system.sql(WAITING)) == 2)
            behind = asyncio.ensure_future(client.ask(mine, "a", "step", timeout_s=120))
            await until(lambda: len(system.sql(WAITING)) == 3)
            innocent = asyncio.ensure_future(client.ask(mine, "c", "hold", {"path": str(last)}, timeout_s=120))
            await until(lambda: len(system.sql(WAITING)) == 4)
            first.touch()
            keeping = asyncio.ensure_future(keep_a_pod_up(over))
            others = [asyncio.ensure_future(count_up(client, f"k{n}", over)) for n in range(OTHERS)]
            assert await held == "held"
            with pytest.raises(CallFailed) as caught:
                await poison
            assert caught.value.code == "handler_failed"
            assert "the process died 3 times" in str(caught.value)
            assert "explode" in str(caught.value)
            assert await behind == 1
            assert await client.ask(mine, "b", "step") == 1
            last.touch()
            assert await innocent == "held"
            over.set()
            await keeping
            return await asyncio.gather(*others)

    for answers in run(scenario()):
        assert answers == list(range(1, len(answers) + 1))
    assert system.sql("SELECT method, status FROM dead_letters") == [("explode", "parked")]
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]
    assert pods[-1].process.poll() is None, "the pod should have lived on once the command was parked"


def test_given_many_waiting_commands_when_their_pod_is_killed_then_the_next_owner_does_them_one_after_the_other(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    keys = [f"k{number}" for number in range(60)]
    pods = [system.start_pod(KINDS, DEADLY)]

    async def scenario() -> None:
        async with system.client() as client:
            for key in keys:
                await client.tell(mine, key, "hold", {"path": str(path)})
            waiting = [asyncio.ensure_future(client.ask(mine, key, "step", timeout_s=120)) for key in keys]
            await until(lambda: len(system.sql(WAITING)) == 2 * len(keys))
            pods[0].kill()
            path.touch()
            pods.append(await asyncio.to_thread(system.start_pod, KINDS, DEADLY))
            assert await asyncio.gather(*waiting) == [1] * len(keys)

    run(scenario())
    assert system.sql("SELECT count(*) FROM pending") == [(0,)]
    assert pods[1].process.poll() is None
