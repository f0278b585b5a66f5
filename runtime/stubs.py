"""Stubs of steps in tests: what a step comes to instead of running its function.

    World(checkout, steps={charge: Payment("p1"), "ship": ConnectionError("late"), reserve: lambda order: order.id})

A value is the step's result, an error is raised as its function would raise it, and a function is called instead. One
for a step that something outside completes (`ctx.external`) is given its token if it has a parameter of that name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Steps = Mapping[str | Callable[..., Any], Any]
"""By the step's function, or its name."""


def step_name(step: str | Callable[..., Any]) -> str:
    """The name that a step has when it is given by its function."""
    return step if isinstance(step, str) else getattr(step, "__name__", type(step).__name__)


def stubs_of(steps: Steps | None) -> dict[str, Callable[..., Any]]:
    """A function for each stub, by the step's name."""
    return {step_name(step): _function_of(stub) for step, stub in (steps or {}).items()}


def instead(stub: Callable[..., Any], fn: Callable[..., Any]) -> Callable[..., Any]:
    """What is called in the place of a step's function `fn`: the stub, with the step's token if it takes one."""
    token = fn.keywords.get("token") if isinstance(fn, partial) else None
    if token is None:
        return stub
    parameters = inspect.signature(stub).parameters.values()
    takes = any(one.name == "token" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    return partial(stub, token=token) if takes else stub


def _function_of(stub: Any) -> Callable[..., Any]:
    if inspect.isroutine(stub):
        return stub

    def fixed(*_: Any, **__: Any) -> Any:
        if isinstance(stub, BaseException):
            raise stub
        return stub

    return fixed
