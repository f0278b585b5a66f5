"""A timer that is due while its actor is held waits for its turn, and can be cancelled until then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.keyvalue import KeyValue, keyvalue
from tests.host.test_promotion import promote
from tests.host.test_steps import lines
from tests.support.steppers import wait_for
from tests.support.system import PodProcess, System, run, until
from tests.support.waiters import waiter

bell = keyvalue("bell")


@bell.write
async def hold(ctx: KeyValue, path: str) -> None:
    """Holds the key until somebody makes the file."""
    await wait_for(path)


@bell.write
def later(ctx: KeyValue, after_s: float, amount: int = 1) -> None:
    """Rings when the time has come."""
    ctx.schedule("bell", "ring", {"amount": amount}, after_s=after_s)


@bell.write
def forget(ctx: KeyValue) -> None:
    """Takes it back."""
    ctx.cancel("bell")


@bell.write
def ring(ctx: KeyValue, amount: int) -> None:
    """Counts."""
    ctx.set("rung", ctx.get("rung", 0, type=int) + amount)


@bell.shared
def rung(ctx: KeyValue) -> int:
    """How often it rang."""
    return ctx.get("rung", 0, type=int)


WAITING = "SELECT method FROM pending WHERE state = 'waiting' ORDER BY ord"


@pytest.mark.parametrize(
    ("between", "rings"), [(None, 1), (("forget", {}), 0), (("later", {"after_s": 0.1, "amount": 5}), 5)]
)
def test_given_a_timer_that_waits_behind_a_held_key_when_its_turn_comes_then_it_rings_unless_it_was_taken_back(
    system: System, tmp_path: Path, between: tuple[str, dict[str, float]] | None, rings: int
) -> None:
    path = tmp_path / "go"

    async def scenario() -> None:
        async with system.pod(bell) as pod, system.client() as client:
            await client.ask(bell, "a", "later", {"after_s": 3600.0})
            held = asyncio.ensure_future(client.ask(bell, "a", "hold", {"path": str(path)}))
            await until(lambda: system.sql("SELECT method FROM pending WHERE state = 'running'") == [("hold",)])
            waiting = [("ring",)]
            if between is not None:
                await client.tell(bell, "a", *between)
                await until(lambda: system.sql(WAITING) == [(between[0],)])
                waiting = [(between[0],), ("ring",)]
            system.sql("UPDATE timers SET due_at = now()")
            pod.timers.reread()
            await until(lambda: system.sql(WAITING) == waiting)
            path.touch()
            await held
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(0,)])
            await until(lambda: system.sql("SELECT count(*) FROM timers") == [(0,)])
            assert await client.ask(bell, "a", "rung", type=int) == rings

    run(scenario())


def test_given_a_timers_execution_that_waited_for_its_key_when_another_version_is_promoted_then_it_goes_on(
    system: System, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"

    def start(group: str) -> PodProcess:
        return system.start_pod("tests.support.waiters", group=group, code_version=group, drain_s=0.1)

    async def scenario() -> None:
        async with system.client() as client:
            pod = start("v1")
            timed = {"method": "linger", "args": {"path": str(second)}, "after_s": 3600}
            await client.ask(waiter, "w", "later", timed)
            holding = await client.submit(waiter, "w", "linger", {"path": str(first)})
            await until(lambda: lines(first))
            pod.terminate()
            system.sql("UPDATE timers SET due_at = now()")  # which the next owner sees
            start("v1")
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(2,)])
            Path(f"{first}.go").touch()
            assert await holding.result(timeout_s=30) == "gone on"
            await until(lambda: lines(second) == ["attempt"])
            start("v2")
            await promote(client, "v2")
            await until(lambda: lines(second) == ["attempt"] * 2)
            Path(f"{second}.go").touch()
            await until(lambda: system.sql("SELECT count(*) FROM pending") == [(0,)])

    run(scenario())
    assert system.sql("SELECT count(*) FROM inbox WHERE result = '\"gone on\"'") == [(2,)]
