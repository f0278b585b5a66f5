"""The checker: known histories, and small random ones beside a search through every order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizability.checker import TooManyOrders, check
from tests.linearizability.explain import describe, minimal
from tests.linearizability.history import Operation, by_key, unknown
from tests.linearizability.models import COUNTER, LIST, MAP, REGISTER, REJECTED, Model

NEVER = math.inf


def history(*rows: tuple[str, Any, Any, float, float]) -> list[Operation]:
    """Operations on one key from (call, argument, result, invoked, returned)."""
    return [Operation("k", *row, client=number) for number, row in enumerate(rows)]


LINEARIZABLE: dict[str, tuple[Model, list[Operation]]] = {
    "nothing": (REGISTER, []),
    "one after the other": (REGISTER, history(("write", 1, None, 0, 1), ("read", None, 1, 2, 3))),
    "a read beside a write sees the value before": (
        REGISTER, history(("write", 1, None, 0, 9), ("read", None, 0, 1, 2), ("read", None, 1, 3, 4)),
    ),
    "two reads beside two writes": (
        REGISTER,
        history(
            ("write", 1, None, 0, 9), ("write", 2, None, 0, 9), ("read", None, 2, 1, 2), ("read", None, 1, 3, 4)
        ),
    ),
    "a write that was never answered is seen late": (
        REGISTER,
        history(("write", 1, None, 0, NEVER), ("read", None, 0, 5, 6), ("read", None, 1, 7, 8)),
    ),
    "a write that was never answered is never seen": (
        REGISTER, history(("write", 1, None, 0, NEVER), ("read", None, 0, 5, 6)),
    ),
    "of two that swap, the loser is refused": (
        REGISTER, history(("cas", (0, 1), None, 0, 9), ("cas", (0, 2), REJECTED, 0, 9), ("read", None, 1, 10, 11)),
    ),
    "a refusal because of a swap that was never answered": (
        REGISTER, history(("cas", (0, 1), None, 0, NEVER), ("cas", (0, 2), REJECTED, 3, 4)),
    ),
    "additions that overlap": (
        COUNTER, history(("add", 2, 5, 0, 9), ("add", 3, 3, 1, 8), ("value", None, 3, 2, 7)),
    ),
    "an item whose append was never answered": (
        LIST, history(("append", 7, None, 0, NEVER), ("append", 8, 2, 1, 2), ("items", None, [7, 8], 3, 4)),
    ),
    "a map of several names": (
        MAP,
        history(
            ("put", ("a", 1), None, 0, 1), ("swap", ("a", 1, 2), True, 2, 9), ("put", ("b", 5), None, 3, 4),
            ("entries", None, {"a": 1, "b": 5}, 5, 6), ("drop", "a", 2, 7, 10),
        ),
    ),
}  # fmt: skip

NOT: dict[str, tuple[Model, list[Operation]]] = {
    "a stale read": (REGISTER, history(("write", 1, None, 0, 1), ("read", None, 0, 2, 3))),
    "a read that takes back what was read": (
        REGISTER, history(("write", 1, None, 0, 9), ("read", None, 1, 1, 2), ("read", None, 0, 3, 4)),
    ),
    "a value that nobody wrote": (REGISTER, history(("write", 1, None, 0, NEVER), ("read", None, 2, 1, 2))),
    "two that swap the same value": (
        REGISTER, history(("cas", (0, 1), None, 0, 9), ("cas", (0, 2), None, 0, 9)),
    ),
    "a refusal without a reason": (REGISTER, history(("cas", (0, 1), REJECTED, 0, 1))),
    "a lost addition": (COUNTER, history(("add", 2, 2, 0, 9), ("add", 3, 3, 1, 8))),
    "an addition that counts twice": (
        COUNTER, history(("add", 2, None, 0, NEVER), ("value", None, 2, 1, 2), ("value", None, 4, 3, 4)),
    ),
    "an effect before it was asked for": (COUNTER, history(("value", None, 2, 0, 1), ("add", 2, 2, 2, 3))),
    "items in two orders": (
        LIST,
        history(
            ("append", 1, None, 0, NEVER), ("append", 2, None, 0, NEVER), ("items", None, [1, 2], 1, 2),
            ("items", None, [2, 1], 3, 4),
        ),
    ),
    "a name that was dropped": (
        MAP, history(("put", ("a", 1), None, 0, 1), ("drop", "a", 1, 2, 3), ("entries", None, {"a": 1}, 4, 5)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINEARIZABLE)
def test_given_a_linearizable_history_then_an_order_is_found(name: str) -> None:
    model, operations = LINEARIZABLE[name]
    assert check(model, operations) is None


@pytest.mark.parametrize("name", NOT)
def test_given_a_history_without_an_order_then_it_is_named(name: str) -> None:
    model, operations = NOT[name]
    violation = check(model, operations)
    assert violation is not None
    assert violation.failing in operations
    assert any(line.startswith("  >") for line in describe(model, violation))


def test_given_several_keys_then_each_has_its_history_in_the_order_of_invocation() -> None:
    mixed = [Operation(key, "read", None, 0, at, at + 1) for key, at in (("a", 3.0), ("b", 1.0), ("a", 2.0))]
    assert {key: [one.invoked for one in found] for key, found in by_key(mixed).items()} == {"a": [2, 3], "b": [1]}


def test_given_too_many_orders_then_it_says_so_instead_of_guessing() -> None:
    rows = [("append", number, None, 0.0, NEVER) for number in range(12)]
    with pytest.raises(TooManyOrders, match="k"):
        check(LIST, history(*rows, ("items", None, [], 1, 2)), limit=1000)


def test_given_a_violation_in_a_long_history_then_only_what_it_needs_is_shown() -> None:
    rows: list[tuple[str, Any, Any, float, float]] = []
    for number in range(50):
        at = float(10 * number)
        rows += [("write", number, None, at, at + 1), ("read", None, number, at + 2, at + 3)]
    late = [("write", 99, None, 500, 509), ("read", None, 99, 501, 502), ("read", None, 99, 503, 504)]
    stale = ("read", None, 49, 505, 506)
    violation = check(REGISTER, history(*rows, *late, stale, ("read", None, 99, 510, 511)))
    assert violation is not None
    assert violation.failing[1:6] == stale
    assert violation.start == [49]
    assert violation.states == [99]
    shown = [(one.call, one.result) for one in minimal(REGISTER, violation)]
    assert shown == [("write", None), ("read", 99), ("read", 49)]


# -- beside a search through every order ------------------------------------------------------------------------------


def explained(model: Model, operations: Sequence[Operation]) -> bool:
    """Whether some order explains a history, found by trying all of them."""
    known = [one for one in operations if one.known]
    open_ = [one for one in operations if not one.known]
    for size in range(len(open_) + 1):
        for some in combinations(open_, size):
            for order in permutations((*known, *some)):
                if _keeps_time(order) and _gives(model, order):
                    return True
    return False


def _keeps_time(order: Sequence[Operation]) -> bool:
    return all(later.returned >= earlier.invoked for n, earlier in enumerate(order) for later in order[n + 1 :])


def _gives(model: Model, order: Sequence[Operation]) -> bool:
    state = model.initial
    for one in order:
        state, result = model.step(state, one.call, one.argument)
        if one.known and result != one.result:
            return False
    return True


MOMENTS = st.integers(0, 7)
SMALL: dict[str, tuple[Model, st.SearchStrategy[tuple[str, Any, Any]]]] = {
    "register": (
        REGISTER,
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 1), st.none()),
            st.tuples(
                st.just("cas"), st.tuples(st.integers(0, 1), st.integers(0, 1)), st.sampled_from([None, REJECTED])
            ),
            st.tuples(st.just("read"), st.none(), st.integers(0, 1)),
        ),
    ),
    "counter": (
        COUNTER,
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 2), st.integers(1, 4)),
            st.tuples(st.just("value"), st.none(), st.integers(0, 3)),
        ),
    ),
    "list": (
        LIST,
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 2), st.integers(1, 3)),
            st.tuples(st.just("items"), st.none(), st.lists(st.integers(1, 2), max_size=2)),
        ),
    ),
}


def operations_of(kind: str) -> st.SearchStrategy[list[Operation]]:
    """Up to five operations at few moments, some of them without an answer."""
    what = SMALL[kind][1]

    def made(rows: list[tuple[tuple[str, Any, Any], int, int, bool]]) -> list[Operation]:
        found = []
        for (call, argument, result), one, other, answered in rows:
            begin, end = min(one, other), max(one, other)
            operation = Operation("k", call, argument, result, float(begin), float(end))
            found.append(operation if answered else unknown(operation))
        return found

    rows = st.tuples(what, MOMENTS, MOMENTS, st.sampled_from([True, True, True, False]))
    return st.lists(rows, max_size=5).map(made)


@pytest.mark.parametrize("kind", SMALL)
def test_given_any_small_history_then_the_verdict_is_that_of_a_search_through_every_order(kind: str) -> None:
    model = SMALL[kind][0]
    seen = {True: 0, False: 0}

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(operations_of(kind))
    def same(operations: list[Operation]) -> None:
        right = explained(model, operations)
        seen[right] += 1
        assert (check(model, operations) is None) == right

    same()
    assert min(seen.values()) > 10, f"both verdicts must occur often: {seen}"
