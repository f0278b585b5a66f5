"""The kinds of steps of a workflow as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class _Step(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    name: str
    dependencies: tuple[str, ...] = ()


class TaskStep(_Step, frozen=True, tag="task"):
    """Calls a function, or with `object_keys` a method of an entity, and completes with its result.

    Attributes:
        handler_name: the function's kind, or the method.
        service_name: the entity's kind when there are `object_keys`; of a function it is only shown.
        object_keys: the entities' keys. With several, all are called side by side, and the result is an object by key.
        input_data: the argument, any JSON value. Texts in it that begin with "$" stand for values: `$input` for the
            run's argument, `$results.NAME` for what a dependency gave, both with `.field` and `.0` behind; "$$" begins
            a text with one "$". Without it a task gets what its dependency gave, an object of all of them by name if
            they are several, or the run's argument if it has none.
        timeout_ms: milliseconds to wait for the answer; None for as long as it takes.
    """

    handler_name: str
    service_name: str = ""
    object_keys: tuple[str, ...] = ()
    input_data: Any = msgspec.UNSET
    timeout_ms: int | None = None


class WaitSignalStep(_Step, frozen=True, tag="wait_signal"):
    """Waits for a signal to the run, and completes with its value.

    When none came within `timeout_ms` the step `on_timeout` runs, and what depends on this one counts it as not done;
    without such a step the run fails. A time-out never completes it.
    """

    signal_name: str
    timeout_ms: int | None = None
    on_timeout: str | None = None


class WaitTimerStep(_Step, frozen=True, tag="wait_timer"):
    """Waits `delay_ms`, or until the next time that `cron_expr` names in `timezone`.

    With `max_retries` it is no pause but a policy: its dependencies, when they fail, are tried again as often, after
    `delay_ms` the first time and twice as long each time after that; it completes with them.
    """

    timer_key: str
    delay_ms: int | None = None
    cron_expr: str | None = None
    timezone: str = "UTC"
    max_retries: int = 0


WorkflowStep = TaskStep | WaitSignalStep | WaitTimerStep


def task_step(
    name: str,
    *,
    handler_name: str,
    service_name: str = "",
    dependencies: Sequence[str] = (),
    input_data: Any = msgspec.UNSET,
    object_keys: Sequence[str] = (),
    timeout_ms: int | None = None,
) -> TaskStep:
    """See TaskStep."""
    return TaskStep(
        name=name,
        handler_name=handler_name,
        service_name=service_name,
        dependencies=tuple(dependencies),
        input_data=input_data,
        object_keys=tuple(object_keys),
        timeout_ms=timeout_ms,
    )


def wait_signal_step(
    name: str,
    *,
    signal_name: str,
    dependencies: Sequence[str] = (),
    timeout_ms: int | None = None,
    on_timeout: str | None = None,
) -> WaitSignalStep:
    """See WaitSignalStep."""
    return WaitSignalStep(
        name=name,
        signal_name=signal_name,
        dependencies=tuple(dependencies),
        timeout_ms=timeout_ms,
        on_timeout=on_timeout,
    )


def wait_timer_step(
    name: str,
    *,
    timer_key: str = "",
    delay_ms: int | None = None,
    cron_expr: str | None = None,
    timezone: str = "UTC",
    max_retries: int = 0,
    dependencies: Sequence[str] = (),
) -> WaitTimerStep:
    """See WaitTimerStep. `timer_key` is the name of the step by default."""
    return WaitTimerStep(
        name=name,
        timer_key=timer_key or name,
        delay_ms=delay_ms,
        cron_expr=cron_expr,
        timezone=timezone,
        max_retries=max_retries,
        dependencies=tuple(dependencies),
    )
