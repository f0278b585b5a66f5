"""A violation as a person reads it: the fewest operations that still have no order, and what the state could be."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from tests.linearizability.checker import Violation, check
from tests.linearizability.history import Operation, unknown
from tests.linearizability.models import Model

MAX_STATES = 8
MAX_OPERATIONS = 16
MAX_TEXT = 80


def minimal(model: Model, violation: Violation) -> list[Operation]:
    """The operations of a violation without the reads that it does not need.

    Dropping a read proves nothing new: any order of the rest would be one of the whole. Dropping an operation that
    changes the state would; those stay.
    """
    kept = list(violation.operations)
    if len(violation.start) != 1:
        return kept
    begun = replace(model, initial=_hashable(violation.start[0]))
    for one in violation.operations:
        without = [other for other in kept if other is not one]
        if one.call in model.reads and one is not violation.failing and _fails(begun, without, violation):
            kept = without
    return kept


def _fails(model: Model, operations: Sequence[Operation], violation: Violation) -> bool:
    end = violation.failing.returned
    return check(model, [one if one.returned <= end else unknown(one) for one in operations]) is not None


def _hashable(state: Any) -> Hashable:
    assert isinstance(state, Hashable)
    return state


def describe(model: Model, violation: Violation) -> list[str]:
    """Lines that show it; times are in seconds since the first operation shown."""
    shown = minimal(model, violation)
    hidden = max(0, len(shown) - MAX_OPERATIONS)
    shown = shown[hidden:]
    zero = min(one.invoked for one in shown)
    lines = [f"{violation.key} is not linearizable as a {model.name}: no order explains the answer marked with >"]
    lines.append(f"    state before: {_either(violation.start)}")
    if hidden:
        lines.append(f"    ({hidden} operations more)")
    for one in shown:
        mark = ">" if one is violation.failing else " "
        end = f"{one.returned - zero:8.4f}" if one.known and one.returned <= violation.failing.returned else "       …"
        answer = _short(one.result) if one.known else "unknown"
        given = "" if one.argument is None else str(one.argument).strip("()")
        said = f"{one.call}({given}) → {answer}"
        lines.append(f"  {mark} {one.invoked - zero:8.4f} – {end} s  client {one.client} by {one.way}: {said}")
    lines.append(f"    by the other answers the state could only be: {_either(violation.states)}")
    return lines


def _either(states: Sequence[Any]) -> str:
    some = [_short(_plain(state)) for state in states[:MAX_STATES]]
    return " or ".join(some) + (f" or {len(states) - MAX_STATES} others" if len(states) > MAX_STATES else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT // 2]} … {text[-MAX_TEXT // 2 :]}"


def _plain(state: Any) -> Any:
    if isinstance(state, frozenset):
        return dict(sorted(state))
    return list(state) if isinstance(state, tuple) else state
