"""Permits without servers: never more than the limits say, nobody forgotten, whatever comes in whatever order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import BadDefinition, Limits, Rejected, World, function
from runtime.clock import ManualClock
from runtime.limits import KEY, MOST_GONE, limiter_of


class Bench:
    """A limiter, and what the runs know that it serves."""

    def __init__(self, limits: Limits) -> None:
        self.limiter = limiter_of("job", limits)
        self.world = World(self.limiter, clock=ManualClock(1000.0))

    def acquire(self, run: str, key: str = "k", priority: int = 0) -> bool:
        args = {"key": key, "run": run, "priority": priority}
        got: bool = self.world.ask(self.limiter, KEY, "acquire", args, id=f"ask-{key}-{run}")
        return got

    def release(self, run: str, key: str = "k") -> None:
        self.world.ask(self.limiter, KEY, "release", {"key": key, "run": run}, id=f"end-{key}-{run}")

    @property
    def held(self) -> list[str]:
        """Runs that have a permit, in the order in which they got it."""
        return [id.partition(".")[2] for id in self.world.state(self.limiter, KEY).held]

    @property
    def waiting(self) -> list[str]:
        return [one.id.partition(".")[2] for one in self.world.state(self.limiter, KEY).waiting]

    @property
    def told(self) -> list[str]:
        """Runs that were told by a signal; the World has no such kind, so what was sent to it waits."""
        return [msgspec.json.decode(command.body)["run"] for command in self.world.waiting]


def test_given_a_limit_when_more_runs_ask_then_they_wait_in_order_and_hear_of_it() -> None:
    bench = Bench(Limits(concurrency=2))
    assert [bench.acquire(run) for run in "abcd"] == [True, True, False, False]
    assert (bench.held, bench.waiting) == (["a", "b"], ["c", "d"])
    bench.release("a")
    bench.release("b")
    assert (bench.held, bench.told) == (["c", "d"], ["c", "d"])
    assert bench.acquire("c") is False, "a repeat has the recorded answer; it was told since"
    bench.world.replay()


def test_given_priorities_when_a_permit_is_free_then_the_highest_goes_first_and_equals_in_order() -> None:
    bench = Bench(Limits(concurrency=1))
    for run, priority in (("a", 0), ("b", 0), ("c", 5), ("d", -1), ("e", 5), ("f", 0)):
        bench.acquire(run, priority=priority)
    assert bench.waiting == ["c", "e", "b", "f", "d"]


def test_given_a_limit_by_key_when_one_key_is_full_then_others_pass_it() -> None:
    bench = Bench(Limits(concurrency=3, per_key=1))
    assert [bench.acquire(run, key) for run, key in (("1", "x"), ("2", "x"), ("3", "y"), ("4", "y"))] == [
        True, False, True, False,
    ]  # fmt: skip
    bench.release("1", "x")
    assert bench.held == ["3", "2"]


def test_given_a_rate_when_time_passes_then_no_window_has_more_and_the_rest_follows() -> None:
    bench = Bench(Limits(rate=3, per_s=10.0))
    for number in range(8):
        bench.acquire(str(number))
        bench.world.advance(1.0)
    for _ in range(40):
        bench.world.advance(1.0)
    began = list(bench.world.state(bench.limiter, KEY).held.values())
    assert len(began) == 8
    assert all(later - earlier >= 10.0 for earlier, later in zip(began, began[3:], strict=False))
    assert began[:6] == [1000.0, 1001.0, 1002.0, 1010.0, 1011.0, 1012.0], "and none waits longer than it must"


def test_given_a_full_backlog_when_one_more_asks_then_it_is_refused() -> None:
    bench = Bench(Limits(concurrency=1, backlog=1))
    assert [bench.acquire(run) for run in "ab"] == [True, False]
    with pytest.raises(Rejected, match="backlog is full"):
        bench.acquire("c")


def test_given_a_run_that_ended_before_it_asked_then_it_keeps_nothing() -> None:
    bench = Bench(Limits(concurrency=1))
    bench.release("a")
    bench.acquire("a")
    assert (bench.held, bench.acquire("b")) == ([], True)
    for number in range(MOST_GONE + 5):
        bench.release(f"gone{number}")
    assert len(bench.world.state(bench.limiter, KEY).gone) == MOST_GONE


def test_given_more_permits_than_one_turn_hands_out_then_all_are_handed_out() -> None:
    bench = Bench(Limits(rate=130, per_s=10.0))
    for number in range(260):
        bench.acquire(str(number))
    assert len(bench.held) == 130
    bench.world.advance(10.0)
    assert len(bench.held) == 260


Deeds = st.lists(st.tuples(st.sampled_from("are"), st.integers(0, 12)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(Deeds, st.integers(1, 3), st.integers(1, 2))
def test_given_any_order_of_deeds_then_no_limit_is_passed_and_nobody_waits_for_a_free_permit(
    deeds: list[tuple[str, int]], concurrency: int, per_key: int
) -> None:
    bench = Bench(Limits(concurrency=concurrency, per_key=per_key))
    asked: set[int] = set()
    ended: set[int] = set()
    for deed, run in deeds:
        key = f"key{run % 3}"
        if deed == "a":
            asked.add(run)
            bench.acquire(str(run), key)
        else:
            ended.add(run)
            bench.release(str(run), key)
        held = Counter(int(run) % 3 for run in bench.held)
        assert held.total() <= concurrency
        assert all(count <= per_key for count in held.values())
        assert {int(run) for run in bench.held + bench.waiting} == asked - ended
        if held.total() < concurrency:
            assert all(held[int(run) % 3] >= per_key for run in bench.waiting)
    bench.world.replay()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"concurrency": 0},
        {"per_key": -1},
        {"rate": 1001},
        {"rate": 5, "per_s": 0.0},
        {"concurrency": 1, "backlog": -1},
    ],
)
def test_given_limits_that_make_no_sense_when_made_then_they_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Limits(**fields)


def test_given_a_function_with_limits_when_defined_then_its_limiter_comes_along() -> None:
    @function(limits=Limits(concurrency=2))
    def limited() -> int:
        return 1

    @function(limits=Limits(per_key=1))
    def alone() -> int:
        return 1

    assert [one.name for one in limited.companions] == ["limited-limit"]
    assert not limited.methods["run"].exclusive
    assert (alone.companions, alone.methods["run"].exclusive) == ((), True)
    assert World(limited).ask(limited, "k", {}) == 1  # a World runs one at a time: no limit holds there
    with pytest.raises(BadDefinition, match="64"):
        function(name="x" * 60, limits=Limits(concurrency=1))(lambda: None)
