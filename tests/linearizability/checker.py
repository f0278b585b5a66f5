"""Whether some order of a history's operations explains every answer.

An order explains a history when every operation that returned before another was invoked stands in front of that one,
and the sequential specification gives the answers that were seen. The search is Wing and Gong's (Testing and verifying
concurrent objects, 1993) with Lowe's just-in-time linearization (Testing for linearizability, 2017): it goes through
the invocations and returns in time and keeps every configuration that is possible by then, (state, operations in flight
that have taken effect already), each once. When an operation returns, those survive in which it has taken effect with
the answer that was seen. An operation that never returned stays in flight: it may take effect at any time, or never.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from tests.linearizability.history import Operation
from tests.linearizability.models import Model

Configuration = tuple[Hashable, frozenset[int]]
"""(state, numbers of the operations in flight that have taken effect)."""


class TooManyOrders(Exception):
    """The history has more possible configurations than were allowed; nothing is known about it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """No order explains the answer of `failing`.

    Attributes:
        key: whose history it is.
        failing: the first operation that returned and leaves no order.
        states: what the key's state could be just before it returned, by the answers of the others.
        start: what the state could be at the beginning of `operations`.
        operations: what matters: since the last moment at which nothing was in flight but what never returned, and of
            the latter what may still take effect then; to the return of `failing`.
    """

    key: str
    failing: Operation
    states: list[Any]
    start: list[Any]
    operations: list[Operation]


def check(model: Model, history: Sequence[Operation], limit: int = 200_000) -> Violation | None:
    """None when the history of one key is linearizable, else where it stops being so.

    Raises TooManyOrders when more than `limit` configurations would have to be kept at once.
    """
    operations = [one for one in history if one.known or one.call not in model.reads]
    possible: set[Configuration] = {(model.initial, frozenset())}
    flying: set[int] = set()
    calm: tuple[float, set[Configuration]] = (float("-inf"), possible)
    for at, number, returned in _moments(operations):
        if not returned:
            if not any(operations[other].known for other in flying):
                calm = (at, possible)
            flying.add(number)
            continue
        reached = _closure(model, operations, possible, flying, limit)
        survivors = {
            (state, effective - {number}) for state, effective in reached if number in effective
        }
        if not survivors:
            return _violation(operations, number, reached, calm)
        flying.discard(number)
        possible = survivors
    return None


def _moments(operations: Sequence[Operation]) -> Iterator[tuple[float, int, bool]]:
    """(when, which operation, whether it returned), in time. What is simultaneous is taken as concurrent."""
    moments = [(one.invoked, False, number) for number, one in enumerate(operations)]
    moments += [(one.returned, True, number) for number, one in enumerate(operations) if one.known]
    for at, returned, number in sorted(moments):
        yield at, number, returned


def _closure(
    model: Model, operations: Sequence[Operation], possible: set[Configuration], flying: set[int], limit: int
) -> set[Configuration]:
    """Every configuration that is reached when operations in flight take effect, in any order, any number of them."""
    reached, edge = set(possible), list(possible)
    while edge:
        state, effective = edge.pop()
        for number in flying - effective:
            one = operations[number]
            after, result = model.step(state, one.call, one.argument)
            if one.known and result != one.result:
                continue
            further = (after, effective | {number})
            if further not in reached:
                reached.add(further)
                edge.append(further)
        if len(reached) > limit:
            raise TooManyOrders(f"more than {limit} configurations of {operations[0].key}")
    return reached


def _violation(
    operations: Sequence[Operation], number: int, reached: set[Configuration], calm: tuple[float, set[Configuration]]
) -> Violation:
    failing = operations[number]
    since, start = calm
    over = frozenset.intersection(*(effective for _, effective in start))
    matters = [
        one for other, one in enumerate(operations)
        if one.invoked <= failing.returned and (one.invoked >= since or (not one.known and other not in over))
    ]  # fmt: skip
    return Violation(failing.key, failing, _states(reached), _states(start), matters)


def _states(configurations: set[Configuration]) -> list[Any]:
    return sorted({state for state, _ in configurations}, key=repr)
