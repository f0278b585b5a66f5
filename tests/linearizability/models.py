"""What each kind of actor does when nobody else is there: the sequential specifications."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

REJECTED = "rejected"
"""The result of an operation that the actor refused."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A sequential specification: `step(state, call, argument)` gives (next state, result) and never fails.

    `reads` are the calls that change nothing, whatever the state.
    """

    name: str
    initial: Hashable
    step: Callable[[Any, str, Any], tuple[Hashable, Any]]
    reads: frozenset[str]


def _register(state: int, call: str, argument: Any) -> tuple[int, Any]:
    if call == "write":
        return argument, None
    if call == "cas":
        expected, new = argument
        return (new, None) if state == expected else (state, REJECTED)
    assert call == "read", call
    return state, state


def _counter(state: int, call: str, argument: Any) -> tuple[int, Any]:
    if call == "add":
        return state + argument, state + argument
    assert call == "value", call
    return state, state


def _list(state: tuple[int, ...], call: str, argument: Any) -> tuple[tuple[int, ...], Any]:
    if call == "append":
        return (*state, argument), len(state) + 1
    assert call == "items", call
    return state, list(state)


def _map(state: frozenset[tuple[str, int]], call: str, argument: Any) -> tuple[frozenset[tuple[str, int]], Any]:
    known = dict(state)
    if call == "put":
        name, value = argument
        return frozenset((known | {name: value}).items()), known.get(name)
    if call == "swap":
        name, expected, value = argument
        if known.get(name) != expected:
            return state, False
        return frozenset((known | {name: value}).items()), True
    if call == "drop":
        before = known.pop(argument, None)
        return frozenset(known.items()), before
    assert call == "entries", call
    return state, known


REGISTER = Model("register", 0, _register, frozenset({"read"}))
"""write(value), cas(expected, new), read."""

COUNTER = Model("counter", 0, _counter, frozenset({"value"}))
"""add(amount), which answers with the new value; value."""

LIST = Model("list", (), _list, frozenset({"items"}))
"""append(item), which answers with the new length; items."""

MAP = Model("map", frozenset(), _map, frozenset({"entries"}))
"""put(name, value) and drop(name), which answer with the value before; swap(name, expected, value); entries."""
